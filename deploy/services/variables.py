"""The variables that let the project use the services."""

import base64

from .keycloak import PROVISIONING_CLIENT
from .state import write_private

SERVICE_ACCOUNT = "flowx-organization-manager-sa"


def render(state):
    """Return {variable: value} for the project, and TEST_ ones for its tests."""
    keycloak = f"http://127.0.0.1:{state.port('keycloak')}"
    redis, spicedb = state.port("redis"), state.port("spicedb")
    password = state.secret("organization_manager")
    provisioning = state.secret("keycloak-provisioning")
    kafka = f"127.0.0.1:{state.port('kafka')}"
    database = f"127.0.0.1:{state.port('postgresql')}/organization_manager"
    return {
        "SPRING_PROFILES_ACTIVE": "development",
        "SPRING_DATASOURCE_URL": f"jdbc:postgresql://{database}",
        "SPRING_DATASOURCE_USERNAME": "organization_manager",
        "SPRING_DATASOURCE_PASSWORD": password,
        "SPRING_DATA_REDIS_HOST": "127.0.0.1",
        "SPRING_DATA_REDIS_PORT": str(redis),
        "SPRING_DATA_REDIS_PASSWORD": state.secret("redis"),
        "SPRING_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "SECURITY_OAUTH2_BASE_SERVER_URL": keycloak,
        "SECURITY_OAUTH2_SERVICE_ACCOUNT_ADMIN_CLIENT_ID": SERVICE_ACCOUNT,
        "SECURITY_OAUTH2_SERVICE_ACCOUNT_ADMIN_CLIENT_SECRET": state.secret(
            "service-account"
        ),
        "SECURITY_OAUTH2_PROVISIONING_CLIENT_ID": PROVISIONING_CLIENT,
        "SECURITY_OAUTH2_PROVISIONING_CLIENT_SECRET": provisioning,
        "FLOWX_LIB_CASCLIENT_SPICEDB_HOST": "127.0.0.1",
        "FLOWX_LIB_CASCLIENT_SPICEDB_PORT": str(spicedb),
        "FLOWX_LIB_CASCLIENT_SPICEDB_TOKEN": state.secret("spicedb-token"),
        "LLM_ENCRYPTION_MASTER_KEY": _master_key(state),
        "TEST_POSTGRESQL_URL": f"postgresql://organization_manager:{password}@{database}",
        "TEST_REDIS_URL": f"redis://:{state.secret('redis')}@127.0.0.1:{redis}/1",
        "TEST_KAFKA_BOOTSTRAP_SERVERS": kafka,
        "TEST_KAFKA_OAUTH_BOOTSTRAP_SERVERS": f"127.0.0.1:{state.port('kafka-oauth')}",
        "TEST_KEYCLOAK_URL": keycloak,
        "TEST_KEYCLOAK_CLIENT_ID": PROVISIONING_CLIENT,
        "TEST_KEYCLOAK_CLIENT_SECRET": provisioning,
        "TEST_KEYCLOAK_ADMIN_PASSWORD": state.secret("keycloak-admin"),
        "TEST_SPICEDB_ADDRESS": f"127.0.0.1:{spicedb}",
        "TEST_SPICEDB_TOKEN": state.secret("spicedb-token"),
    }


def write(state):
    """Write the variables to a file that a shell can read; return its path."""
    lines = [f"{name}={value}\n" for name, value in render(state).items()]
    write_private(path(state), "".join(lines))
    return path(state)


def path(state):
    return state.var / "services.env"


def _master_key(state):
    text = state.secret("master-key")  # 24 random bytes, written as 32 characters
    return "base64:" + base64.b64encode(text.encode()).decode()
