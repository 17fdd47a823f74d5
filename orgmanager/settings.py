from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = BASE_DIR / "var"
VAR_DIR.mkdir(mode=0o700, exist_ok=True)
PROFILES = frozenset()
EMBEDDED = True
PRODUCTION = False
DEVELOPMENT = True
INSTALLATION_TYPE = "ONPREM"
ORGANIZATION_ID = None
DEFAULT_ORGANIZATION_NAME = ""
PUBLIC_BASE_URL = "http://127.0.0.1:8080"
TRUSTED_PROXY_COUNT = 0
SECRET_KEY = "x" * 50
DEBUG = False
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "orgmanager.outbox",
    "orgmanager.operators",
    "organizations",
    "health",
]
ROOT_URLCONF = "orgmanager.urls"
WSGI_APPLICATION = "orgmanager.wsgi.application"
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": VAR_DIR / "orgmanager.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        },
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "operators.Operator"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
USE_TZ = True
TIME_ZONE = "UTC"
IDENTITY = {"BACKEND": "orgmanager.identity.backends.local.Identity", "path": VAR_DIR / "identity.sqlite3"}
IDENTITY_BASE_URL = PUBLIC_BASE_URL
ISSUER_PATTERN = PUBLIC_BASE_URL + "/realms/{orgId}"
SERVICE_ACCOUNT_REALM = "00000002-0002-4002-8002-000000000002"
SERVICE_ACCOUNT_CLIENT_ID = "flowx-organization-manager-sa"
SERVICE_ACCOUNT_CLIENT_SECRET = ""
SERVICE_ACCOUNT_SECRETS_DIR = None
OPERATOR_REALM = ""
JWT_AUDIENCE = "flowx-organization-manager"
JWT_AUDIENCE_MODE = "required"
JWT_ALLOWED_PARTIES = []
DIRECT_ACCESS_GRANTS = True
DESIGNER_HOME_URI = "http://localhost:4200"
RUNTIME_HOME_URI = "http://localhost:4201"
ALLOWED_REDIRECT_URIS = ["http://localhost:4200/*", "http://localhost:4201/*"]
REALM_SMTP = {}
AUTHORIZATION = {"BACKEND": "orgmanager.authorization.backends.local.Authorization", "path": VAR_DIR / "authorization.sqlite3"}
BROKER = {"BACKEND": "orgmanager.broker.backends.local.Broker", "path": VAR_DIR / "topics"}
LICENCE_SERVER = {"BACKEND": "orgmanager.licence_server.backends.local.LicenceServer", "path": VAR_DIR / "licence-server.pem"}
TOPICS = {
    "organization_events": "ai.flowx.organization.events.v1",
    "llm_config_changed": "ai.flowx.llm.config.changed.v1",
    "licence_events": "ai.flowx.license.events.v1",
}
KAFKA_MESSAGE_MAX_BYTES = 52428800
MASTER_KEY = "default-dev-key-change-in-prod"
DECRYPT_ONLY_KEYS = []
