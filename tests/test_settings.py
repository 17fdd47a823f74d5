"""What the environment makes of the service, and what it refuses."""

import importlib.util
import multiprocessing
import os
import subprocess
import sys
from io import StringIO
from pathlib import Path

import certifi
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

from orgmanager import checks, secret_key
from orgmanager.management.commands.print_env import render_text

ROOT = Path(__file__).resolve().parent.parent
CANARY = "canary-7f3a9c51"
STRONG_KEY = "base64:" + "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
NEEDED_IN_PRODUCTION = {
    "SECURITY_OAUTH2_BASE_SERVER_URL": "https://keycloak.example.com/auth",
    "SECURITY_OAUTH2_SERVICE_ACCOUNT_ADMIN_CLIENT_SECRET": "client-secret",
    "SPRING_DATASOURCE_PASSWORD": "database-password",
    "FLOWX_LIB_CASCLIENT_SPICEDB_TOKEN": "spicedb-token",
    "LLM_ENCRYPTION_MASTER_KEY": STRONG_KEY,
}
ADDRESSES = {
    "SPRING_DATASOURCE_URL": "jdbc:postgresql://db/orgs",
    "SPRING_DATA_REDIS_HOST": "redis",
    "SPRING_REDIS_HOST": "redis",
    "SPRING_KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    "SECURITY_OAUTH2_BASE_SERVER_URL": "https://keycloak.example.com/auth",
    "FLOWX_LIB_CASCLIENT_SPICEDB_HOST": "spicedb",
    "FLOWX_SPICEDB_HOST": "spicedb",
    "LICENSE_SERVER_URL": "https://licences.example.com",
}
SEED_DEFAULTS = {
    "SECURITY_TYPE": "jwt-public-key",
    "SECURITY_OAUTH2_BASE_SERVER_URL": "",
    "SECURITY_OAUTH2_SAREALM": "00000002-0002-4002-8002-000000000002",
    "SECURITY_OAUTH2_SERVICE_ACCOUNT_ADMIN_CLIENT_ID": "flowx-organization-manager-sa",
    "SECURITY_OAUTH2_SERVICE_ACCOUNT_ADMIN_CLIENT_SECRET": "",
    "SECURITY_OAUTH2_REALM_ISSUERURIPATTERN": (
        "${SECURITY_OAUTH2_BASE_SERVER_URL}/realms/{orgId}"
    ),
    "FLOWX_LIB_SECURITY_SERVICES_ORGANIZATIONMANAGER_BASEURL": (
        "http://organization-manager:80"
    ),
    "SPRING_DATASOURCE_URL": "jdbc:postgresql://postgresql:5432/organization_manager",
    "SPRING_DATASOURCE_USERNAME": "postgres",
    "SPRING_DATASOURCE_PASSWORD": "",
    "SPRING_DATA_REDIS_HOST": "localhost",
    "SPRING_DATA_REDIS_PORT": "6379",
    "SPRING_DATA_REDIS_PASSWORD": "",
    "SPRING_REDIS_HOST": "localhost",
    "SPRING_REDIS_PASSWORD": "",
    "REDIS_TTL": "5000000",
    "SPRING_KAFKA_BOOTSTRAP_SERVERS": "localhost:9092",
    "KAFKA_MESSAGE_MAX_BYTES": "52428800",
    "KAFKA_TOPIC_NAMING_PACKAGE": "ai.flowx.",
    "KAFKA_TOPIC_NAMING_ENVIRONMENT": "",
    "KAFKA_TOPIC_NAMING_VERSION": ".v1",
    "KAFKA_TOPIC_NAMING_SEPARATOR": ".",
    "KAFKA_TOPIC_NAMING_SEPARATOR2": "-",
    "KAFKA_TOPIC_ORGANIZATION_EVENTS_OUT": "ai.flowx.organization.events.v1",
    "KAFKA_TOPIC_LLM_CONFIG_CHANGED": "ai.flowx.llm.config.changed.v1",
    "LLM_ENCRYPTION_MASTER_KEY": "default-dev-key-change-in-prod",
    "FLOWX_LIB_CASCLIENT_SPICEDB_HOST": "spicedb",
    "FLOWX_LIB_CASCLIENT_SPICEDB_PORT": "50051",
    "FLOWX_LIB_CASCLIENT_SPICEDB_TOKEN": "",
    "ORGANIZATION_ID": "",
    "LOGGING_LEVEL_ROOT": "INFO",
    "LOGGING_LEVEL_APP": "INFO",
    "MULTIPART_MAX_FILE_SIZE": "50MB",
    "MULTIPART_MAX_REQUEST_SIZE": "50MB",
    "SPRING_SECURITY_OAUTH2_CLIENT_REGISTRATION_MAINIDENTITY_CLIENTSECRET": "",
    "SPRING_PROFILES_ACTIVE": "",
}


@pytest.fixture
def load(monkeypatch, tmp_path):
    """Return a function that runs settings.py with exactly these variables."""
    monkeypatch.setattr(sys, "tracebacklimit", 1000, raising=False)  # to undo theirs

    def load_settings(**environ):
        environ = {"ORGMANAGER_VAR_DIR": str(tmp_path / "var"), **environ}
        monkeypatch.setattr(os, "environ", environ)
        spec = importlib.util.spec_from_file_location(
            "orgmanager.settings", ROOT / "orgmanager" / "settings.py"
        )
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load_settings


@pytest.fixture
def refusal(load):
    """Return a function that gives the message settings.py stops with."""

    def load_and_fail(**environ):
        with pytest.raises(ImproperlyConfigured) as caught:
            load(**environ)
        return str(caught.value)

    return load_and_fail


@pytest.fixture
def manage(tmp_path):
    """Return a function that runs manage.py with exactly these variables."""

    def run(*arguments, **environ):
        environ = {"ORGMANAGER_VAR_DIR": str(tmp_path / "var"), **environ}
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


# What the environment makes of the settings


def test_load_empty_environment_uses_local_backends(load):
    settings = load()
    assert settings.EMBEDDED and settings.DEVELOPMENT and not settings.PRODUCTION
    for role in ("IDENTITY", "AUTHORIZATION", "BROKER", "LICENCE_SERVER"):
        assert ".backends.local." in getattr(settings, role)["BACKEND"]
    assert settings.DATABASES["default"]["ENGINE"].endswith("sqlite3")
    assert "locmem" in settings.CACHES["default"]["BACKEND"]
    assert settings.WEB_CONCURRENCY == 1
    assert settings.BIND_ADDRESS == "127.0.0.1"
    assert settings.PUBLIC_BASE_URL == "http://127.0.0.1:8080"
    assert settings.ISSUER_PATTERN == "http://127.0.0.1:8080/realms/{orgId}"
    assert settings.ORGANIZATION_ID is None
    assert settings.AUDIT_RETENTION.days == 400
    assert settings.VAR_DIR.stat().st_mode & 0o777 == 0o700


def test_load_port_moves_the_public_address(load):
    assert load(PORT="8090").PUBLIC_BASE_URL == "http://127.0.0.1:8090"


@pytest.mark.parametrize("name", ADDRESSES)
def test_load_one_address_without_profile_applies_production_rules(refusal, name):
    message = refusal(**{name: ADDRESSES[name]})
    assert f"Production rules hold because {name} is set" in message
    assert "SPRING_DATASOURCE_PASSWORD is missing" in message


@pytest.mark.parametrize("name", ADDRESSES)
def test_load_one_address_in_development_keeps_other_roles_local(load, name):
    environ = {"SPRING_PROFILES_ACTIVE": "development", name: ADDRESSES[name]}
    settings = load(**environ)
    backends = [
        settings.DATABASES["default"]["ENGINE"],
        settings.CACHES["default"]["BACKEND"],
        settings.BROKER["BACKEND"],
        settings.IDENTITY["BACKEND"],
        settings.AUTHORIZATION["BACKEND"],
        settings.LICENCE_SERVER["BACKEND"],
    ]
    local = [b for b in backends if "local" in b or "sqlite" in b or "locmem" in b]
    assert len(local) == 5
    assert not settings.PRODUCTION and not settings.EMBEDDED


def test_load_production_with_nothing_else_names_all_that_is_missing(refusal):
    message = refusal(SPRING_PROFILES_ACTIVE="production")
    for name in NEEDED_IN_PRODUCTION:
        assert name in message
    assert message.count("is missing") == len(NEEDED_IN_PRODUCTION)


def test_load_production_takes_the_documented_addresses(load):
    settings = load(SPRING_PROFILES_ACTIVE="production", **NEEDED_IN_PRODUCTION)
    database = settings.DATABASES["default"]
    assert (database["HOST"], database["PORT"]) == ("postgresql", "5432")
    assert (database["NAME"], database["USER"]) == ("organization_manager", "postgres")
    assert settings.CACHES["default"]["LOCATION"] == "redis://localhost:6379/0"
    assert settings.BROKER["bootstrap_servers"] == ["localhost:9092"]
    assert settings.AUTHORIZATION["host"] == "spicedb"
    assert settings.AUTHORIZATION["port"] == 50051
    assert settings.LICENCE_SERVER["BACKEND"].endswith("unset.LicenceServer")
    assert settings.IDENTITY["server_url"] == "https://keycloak.example.com/auth"
    assert settings.IDENTITY["provisioning_client_secret"] == "client-secret"
    assert settings.ISSUER_PATTERN == (
        "https://keycloak.example.com/auth/realms/{orgId}"
    )
    assert settings.PUBLIC_BASE_URL == "http://organization-manager:80"
    assert not settings.DIRECT_ACCESS_GRANTS
    assert settings.ALLOWED_REDIRECT_URIS == []
    assert not settings.VAR_DIR.exists()


def test_load_example_of_the_setup_guide_starts(load):
    settings = load(
        SPRING_PROFILES_ACTIVE="production",
        SPRING_DATASOURCE_URL="jdbc:postgresql://postgresql:5432/organization_manager",
        SPRING_DATASOURCE_USERNAME="postgres",
        SPRING_KAFKA_BOOTSTRAP_SERVERS="kafka:9092",
        SECURITY_TYPE="jwt-public-key",
        SECURITY_OAUTH2_BASE_SERVER_URL="https://keycloak.example.com/auth",
        SECURITY_OAUTH2_SAREALM="00000002-0002-4002-8002-000000000002",
        SPRING_REDIS_HOST="redis-master",
        FLOWX_LIB_CASCLIENT_SPICEDB_HOST="spicedb",
        FLOWX_LIB_CASCLIENT_SPICEDB_PORT="50051",
        SPRING_DATASOURCE_PASSWORD="a",
        SPRING_REDIS_PASSWORD="b",
        SPRING_SECURITY_OAUTH2_CLIENT_REGISTRATION_MAINIDENTITY_CLIENTSECRET="c",
        FLOWX_LIB_CASCLIENT_SPICEDB_TOKEN="d",
        LLM_ENCRYPTION_MASTER_KEY=STRONG_KEY,
    )
    assert settings.CACHES["default"]["OPTIONS"]["PASSWORD"] == "b"
    assert settings.SERVICE_ACCOUNT_CLIENT_SECRET == "c"


def test_load_saas_in_production_needs_the_operator_realm(refusal):
    message = refusal(INSTALLATION_TYPE="saas", **NEEDED_IN_PRODUCTION)
    assert "SECURITY_OAUTH2_OPERATOR_REALM is missing" in message


@pytest.mark.parametrize(
    "name, value, reason",
    [
        ("SPRING_PROFILES_ACTIVE", "prodution", "is not a known profile"),
        ("SECURITY_TYPE", "oauth2", "is not jwt-public-key"),
        ("SPRING_DATA_REDIS_SENTINEL_MASTER", "m", "is not supported.*Events Gateway"),
        ("SPRING_REDIS_CLUSTER_NODES", "a:1,b:2", "is not supported.*Events Gateway"),
        ("SECURITY_OAUTH2_REALM_ISSUERURIPATTERN", "https://kc/realms/x", "{orgId}"),
        ("APPLICATION_CORS_ALLOW_ORIGIN", "https://a.example/x", "not an origin"),
        ("LICENSE_SERVER_PUBLIC_KEY", "-----BEGIN", "is not a public key in PEM"),
        ("KAFKA_TOPIC_ORGANIZATION_EVENTS_OUT", "a b", "is not a topic name"),
        ("LLM_ENCRYPTION_MASTER_KEY", "base64:AAAA", "is not 32 bytes in base64"),
    ],
)
def test_load_bad_value_stops_the_start(refusal, name, value, reason):
    environ = {"SPRING_PROFILES_ACTIVE": "development", name: value}
    message = refusal(**environ)
    assert name in message
    assert all(part in message for part in reason.split(".*"))


def test_load_database_url_becomes_connection_options(load):
    settings = load(
        SPRING_PROFILES_ACTIVE="development",
        SPRING_DATASOURCE_URL="jdbc:postgresql://a,b/orgs?sslmode=require&currentSchema=s",
        DATABASE_STATEMENT_TIMEOUT="1500ms",
        DATABASE_POOL_MAX_SIZE="1",
    )
    database = settings.DATABASES["default"]
    assert (database["HOST"], database["PORT"]) == ("a,b", "5432,5432")
    assert database["CONN_MAX_AGE"] == 0
    options = database["OPTIONS"]
    assert options["sslmode"] == "require"
    # Later than the server's own limit, which says nothing when nobody is there.
    assert settings.DATABASE_ANSWER_TIMEOUT == 2.5
    assert options["tcp_user_timeout"] == 2500 and options["keepalives_idle"] == 5
    pool = {"min_size": 1, "max_size": 1, "timeout": 3, "reconnect_timeout": 3}
    assert options["pool"] == pool
    assert options["options"] == (
        "-c statement_timeout=1500 -c lock_timeout=2000 "
        "-c idle_in_transaction_session_timeout=10000 -c search_path=s"
    )


def test_load_redis_over_tls_keeps_the_password_out_of_the_address(load):
    settings = load(
        SPRING_PROFILES_ACTIVE="development",
        SPRING_REDIS_HOST="redis",
        SPRING_DATA_REDIS_PORT="6380",
        SPRING_REDIS_PASSWORD="p@ss/word",
        SPRING_DATA_REDIS_SSL_ENABLED="true",
        REDIS_TTL="1500",
    )
    cache = settings.CACHES["default"]
    assert cache["LOCATION"] == "rediss://redis:6380/0"
    assert cache["OPTIONS"]["PASSWORD"] == "p@ss/word"
    assert cache["TIMEOUT"] == 1.5
    assert settings.WEB_CONCURRENCY == 2


CA_FILES = {
    "REDIS_CA_FILE": "SPRING_DATA_REDIS_SSL_ENABLED",
    "SPICEDB_CA_FILE": "FLOWX_LIB_CASCLIENT_SPICEDB_TLS_ENABLED",
}


@pytest.mark.parametrize("file, switch", CA_FILES.items())
def test_load_certificates_without_tls_are_refused(load, refusal, file, switch):
    """Fails when a forgotten switch sends in plain text what was meant for TLS."""
    ca_file = certifi.where()
    assert f"{file} is set, and {switch} is not" in refusal(**{file: ca_file})
    load(**{file: ca_file, switch: "true"})


@pytest.mark.parametrize("file", CA_FILES)
def test_load_certificates_that_are_none_are_named(refusal, tmp_path, file):
    there_is_none = refusal(**{file: str(tmp_path / "ca.pem")})
    assert f"{file}='{tmp_path}/ca.pem' cannot be read (No such file" in there_is_none
    (tmp_path / "ca.pem").write_text("-----BEGIN PUBLIC KEY-----")
    message = refusal(**{file: str(tmp_path / "ca.pem")})
    assert "holds no certificates in PEM" in message


def test_load_kafka_auth_profile_signs_in_with_a_token(load, refusal):
    environ = {
        "SPRING_PROFILES_ACTIVE": "development,kafka-auth",
        "KAFKA_BOOTSTRAP_SERVERS": "kafka:9092",
    }
    message = refusal(**environ)
    assert "KAFKA_OAUTH_CLIENT_SECRET" in message
    assert "KAFKA_OAUTH_TOKEN_ENDPOINT_URI" in message
    broker = load(
        **environ,
        KAFKA_OAUTH_CLIENT_SECRET="s",
        KAFKA_OAUTH_TOKEN_ENDPOINT_URI="https://keycloak/token",
    ).BROKER
    assert broker["security_protocol"] == "SASL_PLAINTEXT"
    assert broker["oauth"] == {
        "client_id": "kafka",
        "client_secret": "s",
        "token_endpoint": "https://keycloak/token",
    }


@pytest.mark.parametrize(
    "environ, topic",
    [
        ({}, "ai.flowx.organization.events.v1"),
        (
            {"KAFKA_TOPIC_NAMING_ENVIRONMENT": "dev"},
            "ai.flowx.dev.organization.events.v1",
        ),
        (
            {"KAFKA_TOPIC_NAMING_ENVIRONMENT": "dev."},
            "ai.flowx.dev.organization.events.v1",
        ),
        (
            {"KAFKA_TOPIC_NAMING_ENVIRONMENT": "dev-"},
            "ai.flowx.dev-organization.events.v1",
        ),
        (
            {"KAFKA_TOPIC_NAMING_PACKAGE": "", "KAFKA_TOPIC_NAMING_VERSION": ""},
            "organization.events",
        ),
        (
            {"KAFKA_TOPIC_NAMING_SEPARATOR": "_", "KAFKA_TOPIC_NAMING_VERSION": "_v2"},
            "ai.flowx.organization_events_v2",
        ),
        (
            {
                "KAFKA_TOPIC_ORGANIZATION_EVENTS_OUT": "mine",
                "KAFKA_TOPIC_NAMING_ENVIRONMENT": "dev",
            },
            "mine",
        ),
    ],
)
def test_load_topic_naming_builds_the_topics(load, environ, topic):
    assert load(**environ).TOPICS["organization_events"] == topic


def test_load_https_address_protects_the_cookies(load):
    settings = load(PUBLIC_BASE_URL="https://flowx.example.com/org")
    assert settings.SESSION_COOKIE_SECURE and settings.CSRF_COOKIE_SECURE
    assert settings.SESSION_COOKIE_NAME.startswith("__Host-")
    assert settings.SECURE_HSTS_SECONDS > 0
    assert settings.CSRF_TRUSTED_ORIGINS == ["https://flowx.example.com"]
    assert settings.SECURE_PROXY_SSL_HEADER is None
    assert load(TRUSTED_PROXY_COUNT="1").SECURE_PROXY_SSL_HEADER


def test_load_home_addresses_become_redirect_addresses(load):
    settings = load(FLOWX_DEFAULT_DESIGNER_HOME_URI="https://designer.example.com/")
    assert settings.ALLOWED_REDIRECT_URIS == [
        "https://designer.example.com/*",
        "http://localhost:4201/*",
    ]
    settings = load(
        FLOWX_DEFAULT_SECURITY_REALM_ALLOWED_REDIRECT_URIS="app:/a,https://b/*"
    )
    assert settings.ALLOWED_REDIRECT_URIS == ["app:/a", "https://b/*"]


def test_load_smtp_without_host_is_no_smtp(load):
    assert load(FLOWX_DEFAULT_SECURITY_REALM_SMTP_USER="u").REALM_SMTP == {}
    smtp = load(FLOWX_DEFAULT_SECURITY_REALM_SMTP_HOST="mail").REALM_SMTP
    assert (smtp["host"], smtp["port"], smtp["starttls"]) == ("mail", 587, True)


# Secrets


def test_load_bad_secrets_shows_none_of_them(load, refusal):
    """Fails when any way to read a secret prints its value."""
    secrets = [v for v in load().env.variables if v.is_secret]
    assert len(secrets) > 8
    bad = {v.names[0]: f"${{{CANARY}}}" for v in secrets}
    bad |= {
        "LLM_ENCRYPTION_MASTER_KEY": f"base64:{CANARY}",
        "LLM_ENCRYPTION_DECRYPT_ONLY_KEYS": f"base64:{CANARY}",
        "DJANGO_SECRET_KEY": CANARY,
        "REDIS_TTL": CANARY,
        "SPRING_DATASOURCE_URL": f"jdbc:postgresql://h/db?password={CANARY}",
        "LICENSE_SERVER_URL": f"ftp://user:{CANARY}@host",
    }
    message = refusal(**bad)
    assert CANARY not in message
    assert all(v.names[0] in message for v in secrets)


def test_load_development_key_signs_with_a_random_key(load, tmp_path):
    """Fails when cookies are signed with what is derived from a public key."""
    first = load()
    path = tmp_path / "var" / "secret_key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert first.SECRET_KEY == path.read_text() == load().SECRET_KEY
    path.unlink()
    assert load().SECRET_KEY != first.SECRET_KEY


def test_load_master_key_gives_the_secret_key(load):
    settings = load(**NEEDED_IN_PRODUCTION)
    assert len(settings.SECRET_KEY) >= 50
    assert STRONG_KEY not in settings.SECRET_KEY
    assert settings.SECRET_KEY_FALLBACKS == []
    rotated = load(
        LLM_ENCRYPTION_MASTER_KEY="a passphrase that is long enough, indeed",
        LLM_ENCRYPTION_DECRYPT_ONLY_KEYS=f"default-dev-key-change-in-prod,{STRONG_KEY}",
    )
    assert rotated.SECRET_KEY_FALLBACKS == [settings.SECRET_KEY]
    assert rotated.SECRET_KEY != settings.SECRET_KEY


def test_load_given_secret_key_is_taken_as_it_is(load):
    settings = load(DJANGO_SECRET_KEY="k" * 40, **NEEDED_IN_PRODUCTION)
    assert settings.SECRET_KEY == "k" * 40
    assert settings.SECRET_KEY_FALLBACKS == []


def test_create_secret_key_in_several_processes_is_one_key(tmp_path):
    with multiprocessing.get_context("fork").Pool(4) as pool:
        keys = pool.map(secret_key.read_or_create, [tmp_path / "key"] * 8, chunksize=1)
    assert len(set(keys)) == 1
    assert os.listdir(tmp_path) == ["key"]


# The table


@pytest.mark.parametrize("name", SEED_DEFAULTS)
def test_table_has_every_variable_of_the_setup_guide(load, name):
    (row,) = [v for v in load().env.variables if name in v.names]
    assert row.default == SEED_DEFAULTS[name]


def test_table_reads_every_name_once_and_explains_it(load):
    variables = load().env.variables
    names = [name for variable in variables for name in variable.names]
    assert len(names) == len(set(names))
    for variable in variables:
        assert variable.help.endswith("."), variable.names


def test_table_never_shows_a_value(load):
    settings = load(SPRING_REDIS_PASSWORD=CANARY, DEFAULT_ORGANIZATION_NAME=CANARY)
    table = render_text(settings.env.variables)
    assert "value: from SPRING_REDIS_PASSWORD" in table
    assert CANARY not in table


def test_table_in_deploy_is_up_to_date():
    """Fails after a change here without print_env --format markdown."""
    out = StringIO()
    call_command("print_env", format="markdown", stdout=out)
    assert (ROOT / "deploy" / "env.md").read_text() == out.getvalue()


# Checks


def test_check_weak_master_key_is_an_error_in_production_only(settings):
    settings.MASTER_KEY = "short"
    settings.PRODUCTION = False
    (warning,) = checks.check_master_keys(None)
    assert warning.id == "orgmanager.W001"
    settings.PRODUCTION = True
    (error,) = checks.check_master_keys(None)
    assert error.id == "orgmanager.E001"
    assert "LLM_ENCRYPTION_MASTER_KEY" in error.msg
    settings.MASTER_KEY = STRONG_KEY
    assert checks.check_master_keys(None) == []


@pytest.mark.filterwarnings("ignore:Overriding setting DATABASES")
def test_check_local_backend_is_an_error_in_production(settings, load):
    embedded = load()
    roles = [*checks.ROLES, "DATABASES", "CACHES"]
    for name in roles:
        setattr(settings, name, getattr(embedded, name))
    settings.PRODUCTION = False
    assert checks.check_no_local_backend(None) == []
    settings.PRODUCTION = True
    errors = checks.check_no_local_backend(None)
    assert len(errors) == len(roles)
    assert all(error.hint.startswith("Set ") for error in errors)


def test_check_backend_that_is_not_there_says_which(settings):
    settings.BROKER = {"BACKEND": "orgmanager.broker.backends.carrier_pigeon.Broker"}
    errors = [e for e in checks.check_backends_exist(None) if "BROKER" in e.msg]
    assert "carrier_pigeon" in errors[0].msg
    assert "SPRING_KAFKA_BOOTSTRAP_SERVERS" in errors[0].hint


def test_check_debug_is_an_error_in_production(settings):
    settings.DEBUG, settings.PRODUCTION = True, False
    assert checks.check_debug(None) == []
    settings.PRODUCTION = True
    assert checks.check_debug(None)[0].id == "orgmanager.E004"


def test_check_operator_client_without_a_secret_is_a_warning(settings):
    settings.OPERATOR_REALM, settings.OPERATOR_CLIENT_SECRET = "operators", ""
    found = {warning.id: warning for warning in checks.check_addresses(None)}
    assert "CLIENT_SECRET" in found["orgmanager.W004"].hint
    settings.OPERATOR_CLIENT_SECRET = "given"
    assert "orgmanager.W004" not in {w.id for w in checks.check_addresses(None)}


# The start of a process


def test_start_with_empty_environment_warns_once(manage):
    done = manage("check")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("orgmanager.W001") == 1
    assert "1 issue" in done.stderr + done.stdout


def test_start_with_bad_values_prints_one_message_and_no_traceback(manage):
    done = manage("check", REDIS_TTL="soon", KEYCLOAK_TIMEOUT="5 parsecs")
    assert done.returncode == 1
    assert "REDIS_TTL='soon' is not a whole number. Example: " in done.stderr
    assert "KEYCLOAK_TIMEOUT='5 parsecs' is not a duration" in done.stderr
    assert "Traceback" not in done.stderr and "File " not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 4


def test_start_with_weak_key_in_production_is_refused(manage):
    environ = {**NEEDED_IN_PRODUCTION, "LLM_ENCRYPTION_MASTER_KEY": "too short"}
    done = manage("check", **environ)
    assert done.returncode == 1
    assert "orgmanager.E001" in done.stderr
    assert "openssl rand" in done.stderr
    assert "too short" not in done.stderr
