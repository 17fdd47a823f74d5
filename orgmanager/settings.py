"""
Every setting, one section per dependency.

The environment decides which systems are used. Each variable is read here, once
and whether it is needed or not, so that ``manage.py print_env`` lists them all.
"""

import os
import sys
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.core.exceptions import ImproperlyConfigured
from redis.backoff import NoBackoff
from redis.retry import Retry

from . import jdbc
from .env import (
    Environment,
    matching,
    parse_certificates,
    parse_server,
    parse_url,
)
from .keyring import DEFAULT_MASTER_KEY, derive, weakness
from .secret_key import read_or_create

BASE_DIR = Path(__file__).resolve().parent.parent

env = Environment(os.environ)

# --- Profiles and process ---------------------------------------------------

env.section("Process")
PROFILES = frozenset(
    env.words(
        "SPRING_PROFILES_ACTIVE",
        parse=matching("production|development|kafka-auth", "a known profile"),
        example="production",
        help="production, development, kafka-auth. Without production the service "
        "uses its embedded default as long as no address of another system is set; "
        "with one, production rules hold unless development is named.",
    )
)
INSTALLATION_TYPE = env.choice(
    "INSTALLATION_TYPE",
    options=["ONPREM", "SAAS"],
    default="ONPREM",
    help="One organization (ONPREM) or many (SAAS).",
)
ORGANIZATION_ID = env.uuid(
    "ORGANIZATION_ID",
    help="The organization's id, given by FlowX at registration. Needed on upgrades, "
    "to assign the data that is there.",
)
DEFAULT_ORGANIZATION_NAME = env.text(
    "DEFAULT_ORGANIZATION_NAME",
    help="The organization's name where registration names none.",
)
UPGRADE_REALM = env.text(
    "UPGRADE_REALM",
    default="flowx",
    help="Upgrade from 5.1: the existing Keycloak realm to take over.",
)
UPGRADE_ORGANIZATION_CODE = env.text(
    "UPGRADE_ORGANIZATION_CODE",
    parse=matching("[a-z0-9][a-z0-9-]{1,62}", "a code (a-z, 0-9 and -)"),
    example="acme",
    help="Upgrade from 5.1: the code the existing organization gets.",
)
UPGRADE_ADMIN_EMAIL = env.text(
    "UPGRADE_ADMIN_EMAIL",
    help="Upgrade from 5.1: the existing user who becomes its first org_admin.",
)
ORGANIZATION_DELETION_GRACE = timedelta(
    seconds=env.duration(
        "ORGANIZATION_DELETION_GRACE",
        default="7d",
        help="How long a deleted organization can be restored.",
    )
)
AUDIT_RETENTION = timedelta(
    seconds=env.duration(
        "AUDIT_RETENTION", default="400d", help="How long events are kept."
    )
)
BUILD_COMMIT = env.text("BUILD_COMMIT", help="Commit the image was built from.")
BUILD_TIME = env.text("BUILD_TIME", help="When the image was built, RFC 3339.")
MIGRATE_ON_START = env.boolean(
    "MIGRATE_ON_START", default=False, help="Migrate the database before serving."
)
PORT = env.integer(
    "PORT", default=8080, minimum=1, maximum=65535, help="Port the web server opens."
)
_bind_address = env.text(
    "BIND_ADDRESS",
    shown="0.0.0.0 under production rules, else 127.0.0.1",
    help="Address the web server listens on.",
)
WEB_CONCURRENCY = env.integer(
    "WEB_CONCURRENCY",
    default=2,
    minimum=1,
    maximum=256,
    help="Web processes. Always one where the cache is in the process.",
)
WEB_THREADS = env.integer(
    "WEB_THREADS", default=8, minimum=1, maximum=256, help="Threads per web process."
)
VAR_DIR = env.text(
    "ORGMANAGER_VAR_DIR",
    parse=lambda text: Path(text).resolve(),
    default=BASE_DIR / "var",
    unit="path",
    shown="var in the checkout",
    help="Directory of everything the embedded default keeps.",
)

# --- Addresses of other systems ---------------------------------------------
# What each one answers decides which rules hold, so these come first.

env.section("PostgreSQL")
_database = env.text(
    "SPRING_DATASOURCE_URL",
    parse=jdbc.parse,
    default="jdbc:postgresql://postgresql:5432/organization_manager",
    example="jdbc:postgresql://postgresql:5432/organization_manager",
    unit="JDBC URL",
    help="The database. Several hosts may be listed; parameters are sslmode, "
    "sslrootcert, sslcert, sslkey, currentSchema, ApplicationName, connectTimeout "
    "and targetServerType.",
)
env.section("Redis")
_redis_host = env.text(
    "SPRING_DATA_REDIS_HOST",
    "SPRING_REDIS_HOST",
    parse=matching(r"[A-Za-z0-9._-]+|[0-9a-fA-F:.]+", "a host name"),
    default="localhost",
    example="redis-master",
    help="Redis, the cache.",
)
env.section("Kafka")
_kafka_servers = env.words(
    "SPRING_KAFKA_BOOTSTRAP_SERVERS",
    "KAFKA_BOOTSTRAP_SERVERS",
    parse=parse_server,
    default="localhost:9092",
    example="kafka-0:9092,kafka-1:9092",
    help="Kafka brokers to begin with.",
)
env.section("Keycloak and sign-in")
_keycloak_url = env.url(
    "SECURITY_OAUTH2_BASE_SERVER_URL",
    example="https://keycloak.example.com/auth",
    help="Keycloak, e.g. https://keycloak.example.com/auth.",
)
env.section("SpiceDB")
_spicedb_host = env.text(
    "FLOWX_LIB_CASCLIENT_SPICEDB_HOST",
    "FLOWX_SPICEDB_HOST",
    parse=matching(r"[A-Za-z0-9._-]+|[0-9a-fA-F:.]+", "a host name"),
    default="spicedb",
    example="spicedb",
    help="SpiceDB, which decides who may do what.",
)
env.section("Licence server")
_licence_server_url = env.url(
    "LICENSE_SERVER_URL",
    help="The licence server. Without it registration answers 503 under production "
    "rules.",
)

_ADDRESSES = (
    "SPRING_DATASOURCE_URL",
    "SPRING_DATA_REDIS_HOST",
    "SPRING_KAFKA_BOOTSTRAP_SERVERS",
    "SECURITY_OAUTH2_BASE_SERVER_URL",
    "FLOWX_LIB_CASCLIENT_SPICEDB_HOST",
    "LICENSE_SERVER_URL",
)
_set_addresses = [source for name in _ADDRESSES if (source := env.source(name))]

# A forgotten profile must not fail open: one real address is enough.
PRODUCTION = "production" in PROFILES or bool(
    _set_addresses and "development" not in PROFILES
)
DEVELOPMENT = not PRODUCTION
EMBEDDED = DEVELOPMENT and not _set_addresses


def _is_remote(address):
    """Say whether the role behind ``address`` is played by the real system."""
    return PRODUCTION or bool(env.source(address))


def _refuse_plain_text(file, is_tls, switch):
    """Report certificates for a connection without TLS: it was meant to have it."""
    if env.source(file) and not is_tls:
        env.problems.append(
            f"{file} is set, and {switch} is not: nothing would be encrypted. Set "
            f"{switch}=true, or unset {file}."
        )


if DEVELOPMENT:
    VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
BIND_ADDRESS = _bind_address or ("0.0.0.0" if PRODUCTION else "127.0.0.1")  # noqa: S104  pods are reached from outside

# --- HTTP -------------------------------------------------------------------

env.section("HTTP")
SELF_BASE_URL = env.url(
    "FLOWX_LIB_SECURITY_SERVICES_ORGANIZATIONMANAGER_BASEURL",
    default="http://organization-manager:80",
    help="This service, as other services of the platform reach it.",
)
PUBLIC_BASE_URL = env.url(
    "PUBLIC_BASE_URL",
    example="https://flowx.example.com",
    shown="http://127.0.0.1:$PORT; under production rules "
    "FLOWX_LIB_SECURITY_SERVICES_ORGANIZATIONMANAGER_BASEURL",
    help="This service, as browsers reach it. Links are made from it and never from "
    "the Host header.",
) or (SELF_BASE_URL if PRODUCTION else f"http://127.0.0.1:{PORT}")
TRUSTED_PROXY_COUNT = env.integer(
    "TRUSTED_PROXY_COUNT",
    default=0,
    maximum=10,
    help="Proxies in front whose X-Forwarded-For and -Proto are believed.",
)


def _parse_origin(text):
    if text != "*" and urlsplit(parse_url(text)).path:
        raise ValueError(f"has {text!r}, which is not an origin, scheme://host[:port]")
    return text


CORS_ALLOWED_ORIGINS = env.words(
    "APPLICATION_CORS_ALLOW_ORIGIN",
    "APPLICATION_CORS_ALLOWORIGIN",
    parse=_parse_origin,
    example="https://designer.example.com",
    help="Origins whose pages may call the API; * for all.",
)
REQUIRE_IF_MATCH = env.boolean(
    "REQUIRE_IF_MATCH",
    default=True,
    help="Refuse PATCH and DELETE without If-Match; false for clients that cannot.",
)
MULTIPART_MAX_FILE_SIZE = env.size(
    "MULTIPART_MAX_FILE_SIZE", default="50MB", help="Largest uploaded file."
)
MULTIPART_MAX_REQUEST_SIZE = env.size(
    "MULTIPART_MAX_REQUEST_SIZE", default="50MB", help="Largest upload in all."
)

_is_https = PUBLIC_BASE_URL.startswith("https:")
_public = urlsplit(PUBLIC_BASE_URL)

# Any Host is fine because nothing is made from it: links and issuers are made
# from PUBLIC_BASE_URL, and probes call pods by address.
ALLOWED_HOSTS = ["*"]
USE_X_FORWARDED_HOST = False
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]
SESSION_COOKIE_NAME = "__Host-orgmanager-session" if _is_https else "orgmanager-session"
CSRF_COOKIE_NAME = "__Host-orgmanager-csrf" if _is_https else "orgmanager-csrf"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _is_https
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 8 * 60 * 60  # seconds
SECURE_HSTS_SECONDS = 365 * 24 * 60 * 60 if _is_https else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = False  # the other hosts of the domain are not ours
SECURE_PROXY_SSL_HEADER = (
    ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXY_COUNT else None
)
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS for subdomains: see above
    "security.W008",  # probes use http inside the cluster, the ingress redirects
    "security.W021",  # HSTS preload: a decision of whoever owns the domain
]

DATA_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # bytes of a JSON body
FILE_UPLOAD_MAX_MEMORY_SIZE = 1024 * 1024  # bytes; larger files go to disk

MIDDLEWARE = [
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "orgmanager.middleware.RequestContext",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "orgmanager.middleware.Cors",
    "orgmanager.rate_limits.FailureLimits",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]
ROOT_URLCONF = "orgmanager.urls"
WSGI_APPLICATION = "orgmanager.wsgi.application"

# --- Applications -----------------------------------------------------------

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_prometheus",
    "orgmanager",
    "orgmanager.outbox",
    "orgmanager.operators",
    "organizations",
    "health",
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DEBUG = False
USE_TZ = True
TIME_ZONE = "UTC"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# Served by the process itself: from where an image has collected and compressed
# them, or else from where the packages keep them.
STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
if not STATIC_ROOT.is_dir():
    STATIC_ROOT = None
WHITENOISE_USE_FINDERS = STATIC_ROOT is None
WHITENOISE_AUTOREFRESH = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedStaticFilesStorage"},
}

# --- Database ---------------------------------------------------------------

env.section("PostgreSQL")
_database_user = env.text(
    "SPRING_DATASOURCE_USERNAME", default="postgres", help="User of the database."
)
_database_password = env.secret(
    "SPRING_DATASOURCE_PASSWORD", help="Password of the database user."
)
_database_pool = {
    "min_size": env.integer(
        "DATABASE_POOL_MIN_SIZE",
        default=2,
        maximum=1000,
        help="Connections a process keeps open.",
    ),
    "max_size": env.integer(
        "DATABASE_POOL_MAX_SIZE",
        default=10,
        minimum=1,
        maximum=1000,
        help="Connections a process opens at most.",
    ),
    "timeout": env.duration(
        "DATABASE_POOL_TIMEOUT",
        default="3s",
        help="How long a request waits for one of them.",
    ),
}
_database_pool["min_size"] = min(_database_pool["min_size"], _database_pool["max_size"])
# The pool doubles its pause between two tries until it gives up, after five minutes
# by default: too long after an outage. Who wants a connection makes it begin anew.
_database_pool["reconnect_timeout"] = _database_pool["timeout"]
_database_timeouts = {
    "statement_timeout": env.duration(
        "DATABASE_STATEMENT_TIMEOUT", default="5s", help="Limit of one statement."
    ),
    "lock_timeout": env.duration(
        "DATABASE_LOCK_TIMEOUT", default="2s", help="Limit of waiting for a lock."
    ),
    "idle_in_transaction_session_timeout": env.duration(
        "DATABASE_IDLE_TRANSACTION_TIMEOUT",
        default="10s",
        help="Limit of doing nothing inside a transaction.",
    ),
}
# After which a server counts as gone that should have given up itself by then.
DATABASE_ANSWER_TIMEOUT = _database_timeouts["statement_timeout"] + 1


def _command_line(timeouts, schemas):
    """Return the server options that a connection starts with."""
    options = [f"-c {name}={round(s * 1000)}" for name, s in timeouts.items()]
    options += [f"-c search_path={','.join(schemas)}"] if schemas else []
    return " ".join(options)


_postgresql = {
    "ENGINE": "orgmanager.postgresql",
    "HOST": _database.host,
    "PORT": _database.port,
    "NAME": _database.name,
    "USER": _database_user,
    "PASSWORD": _database_password,
    "CONN_MAX_AGE": 0,  # the pool keeps connections; Django refuses both
    "CONN_HEALTH_CHECKS": True,
    "OPTIONS": {
        "application_name": "organization-manager",
        "connect_timeout": 3,
        # A network that drops packets ends a connection within seconds, not after a
        # quarter of an hour: whoever waits for an answer would wait as long.
        "tcp_user_timeout": round(DATABASE_ANSWER_TIMEOUT * 1000),  # milliseconds
        "keepalives_idle": 5,  # seconds
        "keepalives_interval": 2,
        "keepalives_count": 3,
        **_database.options,
        "pool": _database_pool,
        "options": _command_line(_database_timeouts, _database.schemas),
    },
}
_sqlite = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": VAR_DIR / "orgmanager.sqlite3",
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,  # seconds
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
    },
}
DATABASES = {"default": _postgresql if _is_remote("SPRING_DATASOURCE_URL") else _sqlite}

# --- Cache ------------------------------------------------------------------

env.section("Redis")
env.refuse(
    "SPRING_DATA_REDIS_SENTINEL_",
    "SPRING_DATA_REDIS_CLUSTER_",
    "SPRING_REDIS_SENTINEL_",
    "SPRING_REDIS_CLUSTER_",
    because="Sentinel and cluster modes are the Events Gateway's alone: set "
    "SPRING_DATA_REDIS_HOST and SPRING_DATA_REDIS_PORT.",
)
_redis_port = env.integer(
    "SPRING_DATA_REDIS_PORT",
    "SPRING_REDIS_PORT",
    default=6379,
    minimum=1,
    maximum=65535,
    help="Port of Redis.",
)
_redis_user = env.text(
    "SPRING_DATA_REDIS_USERNAME",
    "SPRING_REDIS_USERNAME",
    help="User of Redis, where it has users.",
)
_redis_password = env.secret(
    "SPRING_DATA_REDIS_PASSWORD", "SPRING_REDIS_PASSWORD", help="Password of Redis."
)
_redis_number = env.integer(
    "SPRING_DATA_REDIS_DATABASE",
    "SPRING_REDIS_DATABASE",
    default=0,
    help="Number of the Redis database.",
)
_redis_is_tls = env.boolean(
    "SPRING_DATA_REDIS_SSL_ENABLED",
    "SPRING_REDIS_SSL_ENABLED",
    "SPRING_REDIS_SSL",
    default=False,
    help="Speak TLS with Redis.",
)
_redis_ca_file = env.text(
    "REDIS_CA_FILE",
    parse=parse_certificates,
    unit="path",
    help="Certificates (PEM) that Redis is checked against; the system's if not set.",
)
_refuse_plain_text("REDIS_CA_FILE", _redis_is_tls, "SPRING_DATA_REDIS_SSL_ENABLED")
_redis_ttl = env.milliseconds(
    "REDIS_TTL", "SPRING_REDIS_TTL", default=5_000_000, help="How long rows are cached."
)

_redis = {
    "BACKEND": "django_redis.cache.RedisCache",
    "LOCATION": "{}://{}:{}/{}".format(
        "rediss" if _redis_is_tls else "redis",
        f"[{_redis_host}]" if ":" in _redis_host else _redis_host,
        _redis_port,
        _redis_number,
    ),
    "TIMEOUT": _redis_ttl,
    "KEY_PREFIX": "orgmanager",
    "OPTIONS": {
        "USERNAME": _redis_user,
        "PASSWORD": _redis_password,
        "SERIALIZER": "django_redis.serializers.json.JSONSerializer",
        # A cache that hangs costs 0.2 s a few times, then nothing; never the request.
        "REDIS_CLIENT_CLASS": "orgmanager.redis_client.Client",
        "CONNECTION_POOL_CLASS": "orgmanager.redis_client.Pool",
        "IGNORE_EXCEPTIONS": True,
        "SOCKET_CONNECT_TIMEOUT": 0.2,
        "SOCKET_TIMEOUT": 0.2,
        "CONNECTION_POOL_KWARGS": {
            "retry": Retry(NoBackoff(), 0),  # redis-py's own retries take 3 s
            "health_check_interval": 15,
            **({"ssl_ca_certs": _redis_ca_file} if _redis_ca_file else {}),
        },
    },
}
_in_process = {
    "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
    "TIMEOUT": _redis_ttl,
}
CACHES = {"default": _redis if _is_remote("SPRING_DATA_REDIS_HOST") else _in_process}

if not _is_remote("SPRING_DATA_REDIS_HOST"):
    WEB_CONCURRENCY = 1  # a second process would not see what the first forgets

# --- Broker -----------------------------------------------------------------

env.section("Kafka")
_kafka_security = env.choice(
    "SPRING_KAFKA_SECURITY_PROTOCOL",
    "KAFKA_SECURITY_PROTOCOL",
    options=["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"],
    default="SASL_PLAINTEXT" if "kafka-auth" in PROFILES else "PLAINTEXT",
    shown="PLAINTEXT; SASL_PLAINTEXT with the profile kafka-auth",
    help="How Kafka is spoken to. SASL means OAUTHBEARER.",
)
_kafka_ca_file = env.text(
    "KAFKA_CA_FILE",
    unit="path",
    help="Certificates (PEM) that Kafka is checked against; the system's if not set.",
)
_kafka_oauth = {
    "client_id": env.text(
        "KAFKA_OAUTH_CLIENT_ID",
        "KAFKA_OAUTH_CLIENTID",
        default="kafka",
        help="OAUTHBEARER: client to ask for a token as.",
    ),
    "client_secret": env.secret(
        "KAFKA_OAUTH_CLIENT_SECRET",
        "KAFKA_OAUTH_CLIENTSECRET",
        help="OAUTHBEARER: secret of that client.",
    ),
    "token_endpoint": env.url(
        "KAFKA_OAUTH_TOKEN_ENDPOINT_URI",
        help="OAUTHBEARER: where tokens are given out.",
    ),
}
KAFKA_MESSAGE_MAX_BYTES = env.integer(
    "KAFKA_MESSAGE_MAX_BYTES",
    default=52_428_800,
    minimum=1024,
    maximum=1_000_000_000,  # librdkafka's own limit
    unit="bytes",
    help="Largest message Kafka takes.",
)
KAFKA_CONSUMER_GROUP = env.text(
    "KAFKA_CONSUMER_GROUP_ID",
    default="organization-manager",
    help="Consumer group of the messages that are read.",
)
_kafka_partitions = env.integer(
    "KAFKA_TOPIC_PARTITIONS",
    default=6,
    minimum=1,
    maximum=10_000,
    help="Partitions of a topic that is created because it is missing.",
)
_kafka_replication = env.integer(
    "KAFKA_TOPIC_REPLICATION_FACTOR",
    default=-1,
    minimum=-1,
    maximum=100,
    help="Replicas of such a topic; -1 leaves it to Kafka.",
)
_kafka_transactional = env.boolean(
    "OUTBOX_KAFKA_TRANSACTIONAL",
    default=True,
    help="Publish in transactions, which keep a frozen worker that wakes up from "
    "publishing again. False where the cluster forbids transactional ids.",
)

_topic_part = {
    "parse": matching(r"[A-Za-z0-9._-]*", "part of a topic name"),
    "keep_empty": True,
}
_package = env.text(
    "KAFKA_TOPIC_NAMING_PACKAGE",
    default="ai.flowx.",
    help="What topic names begin with.",
    **_topic_part,
)
_environment = env.text(
    "KAFKA_TOPIC_NAMING_ENVIRONMENT",
    help="What follows, e.g. dev; its separator is added where it has none.",
    **_topic_part,
)
_version = env.text(
    "KAFKA_TOPIC_NAMING_VERSION",
    default=".v1",
    help="What topic names end with.",
    **_topic_part,
)
_separator = env.text(
    "KAFKA_TOPIC_NAMING_SEPARATOR",
    default=".",
    help="What stands between the words of a topic name.",
    **_topic_part,
)
_separator2 = env.text(
    "KAFKA_TOPIC_NAMING_SEPARATOR2",
    default="-",
    help="The platform's second separator; no topic of this service has one.",
    **_topic_part,
)
if _environment and not _environment.endswith((_separator, _separator2)):
    _environment += _separator


def _topic(variable, words, help):
    name = _separator.join(words.split())
    return env.text(
        variable,
        parse=matching("[A-Za-z0-9._-]{1,249}", "a topic name"),
        default=f"{_package}{_environment}{name}{_version}",
        shown=f"ai.flowx.{words.replace(' ', '.')}.v1",
        help=help,
    )


TOPICS = {
    "organization_events": _topic(
        "KAFKA_TOPIC_ORGANIZATION_EVENTS_OUT",
        "organization events",
        "Topic of what happens to organizations.",
    ),
    "llm_config_changed": _topic(
        "KAFKA_TOPIC_LLM_CONFIG_CHANGED",
        "llm config changed",
        "Topic of changes to LLM providers.",
    ),
    "licence_events": _topic(
        "KAFKA_TOPIC_LICENSE_EVENTS_IN",
        "license events",
        "Topic the license service answers on.",
    ),
}

_kafka = {
    "BACKEND": "orgmanager.broker.backends.kafka.Broker",
    "bootstrap_servers": _kafka_servers,
    "security_protocol": _kafka_security,
    "ca_file": _kafka_ca_file,
    "oauth": _kafka_oauth if _kafka_security.startswith("SASL") else None,
    "max_bytes": KAFKA_MESSAGE_MAX_BYTES,
    "partitions": _kafka_partitions,
    "replication_factor": _kafka_replication,
    "prefix": KAFKA_CONSUMER_GROUP,
    "transactional": _kafka_transactional,
}
_topic_files = {
    "BACKEND": "orgmanager.broker.backends.local.Broker",
    "path": VAR_DIR / "topics",
}
BROKER = _kafka if _is_remote("SPRING_KAFKA_BOOTSTRAP_SERVERS") else _topic_files

# --- Identity ---------------------------------------------------------------

env.section("Keycloak and sign-in")
SECURITY_TYPE = env.choice(
    "SECURITY_TYPE",
    options=["jwt-public-key"],
    default="jwt-public-key",
    help="How callers prove who they are: a JWT, checked with its realm's key.",
)
SERVICE_ACCOUNT_REALM = env.uuid(
    "SECURITY_OAUTH2_SAREALM",
    "SECURITY_OAUTH2_SA_REALM",
    default="00000002-0002-4002-8002-000000000002",
    help="Realm of the service accounts.",
)
SERVICE_ACCOUNT_CLIENT_ID = env.text(
    "SECURITY_OAUTH2_SERVICE_ACCOUNT_ADMIN_CLIENT_ID",
    "SPRING_SECURITY_OAUTH2_CLIENT_REGISTRATION_MAINIDENTITY_CLIENTID",
    default="flowx-organization-manager-sa",
    help="This service's own account in Keycloak.",
)
SERVICE_ACCOUNT_CLIENT_SECRET = env.secret(
    "SECURITY_OAUTH2_SERVICE_ACCOUNT_ADMIN_CLIENT_SECRET",
    "SPRING_SECURITY_OAUTH2_CLIENT_REGISTRATION_MAINIDENTITY_CLIENTSECRET",
    help="Secret of this service's own account in Keycloak.",
)
SERVICE_ACCOUNT_SECRETS_DIR = env.text(
    "SERVICE_ACCOUNT_SECRETS_DIR",
    parse=Path,
    empty=None,
    unit="path",
    help="Directory with one file per service account, named like its client and "
    "holding its secret; Keycloak makes up those that are not there.",
)
_provisioning_realm = env.text(
    "SECURITY_OAUTH2_PROVISIONING_REALM",
    default="master",
    help="Realm of the account that may create realms.",
)
_provisioning_client_id = env.text(
    "SECURITY_OAUTH2_PROVISIONING_CLIENT_ID",
    shown="the service account's",
    help="Account in Keycloak that may create realms.",
)
_provisioning_client_secret = env.secret(
    "SECURITY_OAUTH2_PROVISIONING_CLIENT_SECRET",
    shown="the service account's",
    help="Secret of the account that may create realms.",
)
IDENTITY_PROVISIONING = env.choice(
    "IDENTITY_PROVISIONING",
    options=["keycloak", "none"],
    default="keycloak",
    help="none: another OpenID provider, whose realms somebody makes by hand.",
)
_keycloak_timeout = env.duration(
    "KEYCLOAK_TIMEOUT", default="15s", help="Limit of one call to Keycloak."
)
IDENTITY_BASE_URL = _keycloak_url or PUBLIC_BASE_URL
ISSUER_PATTERN = env.text(
    "SECURITY_OAUTH2_REALM_ISSUERURIPATTERN",
    parse=matching(r"https?://[!-~]*\{orgId\}[!-~]*", "an address with {orgId}"),
    default=f"{IDENTITY_BASE_URL}/realms/{{orgId}}",
    example="https://keycloak.example.com/auth/realms/{orgId}",
    shown="${SECURITY_OAUTH2_BASE_SERVER_URL}/realms/{orgId}",
    help="Issuer of an organization's tokens.",
)
OPERATOR_REALM = env.text(
    "SECURITY_OAUTH2_OPERATOR_REALM",
    parse=matching("[A-Za-z0-9][A-Za-z0-9_-]{0,62}", "a realm name"),
    example="operators",
    help="Realm of the operators, who run the installation. On-premises the "
    "organization's own org_admins are operators where it is not set.",
)
OPERATOR_CLIENT_ID = env.text(
    "SECURITY_OAUTH2_OPERATOR_CLIENT_ID",
    default="flowx-organization-manager-console",
    help="Client the console signs operators in with.",
)
OPERATOR_CLIENT_SECRET = env.secret(
    "SECURITY_OAUTH2_OPERATOR_CLIENT_SECRET",
    help="Secret of that client; not set for a public one.",
)
JWT_AUDIENCE = "flowx-organization-manager"
JWT_AUDIENCE_MODE = env.choice(
    "SECURITY_JWT_AUDIENCE_MODE",
    options=["required", "azp"],
    default="required",
    help="Accept tokens by audience, or (azp, for adopted realms) by client.",
)
JWT_ALLOWED_PARTIES = env.words(
    "SECURITY_JWT_ALLOWED_PARTIES",
    example="flowx-platform-authenticate",
    help="Clients that are accepted in the mode azp.",
)
DIRECT_ACCESS_GRANTS = env.boolean(
    "FLOWX_DEFAULT_SECURITY_REALM_DIRECT_ACCESS_GRANTS",
    default=DEVELOPMENT,
    shown="false; true without production rules",
    help="Let users' passwords be exchanged for tokens directly.",
)
DESIGNER_HOME_URI = env.url(
    "FLOWX_DEFAULT_DESIGNER_HOME_URI",
    default="http://localhost:4200" if DEVELOPMENT else "",
    example="https://designer.example.com",
    shown="http://localhost:4200 without production rules",
    help="Where Designer is.",
)
RUNTIME_HOME_URI = env.url(
    "FLOWX_DEFAULT_RUNTIME_HOME_URI",
    default="http://localhost:4201" if DEVELOPMENT else "",
    example="https://apps.example.com",
    shown="http://localhost:4201 without production rules",
    help="Where the applications' users are.",
)
ALLOWED_REDIRECT_URIS = env.words(
    "FLOWX_DEFAULT_SECURITY_REALM_ALLOWED_REDIRECT_URIS",
    parse=matching(r"[a-z][a-z0-9+.-]*:/[!-~]+", "an address"),
    example="https://designer.example.com/*",
    shown="the two above, each with /*",
    help="Where a new realm's users may be sent after signing in.",
) or [f"{uri}/*" for uri in (DESIGNER_HOME_URI, RUNTIME_HOME_URI) if uri]
_smtp = {
    "host": env.text(
        "FLOWX_DEFAULT_SECURITY_REALM_SMTP_HOST",
        help="Mail server of new realms. Without one, operators hand out links.",
    ),
    "port": env.integer(
        "FLOWX_DEFAULT_SECURITY_REALM_SMTP_PORT",
        default=587,
        minimum=1,
        maximum=65535,
        help="Port of that mail server.",
    ),
    "from": env.text(
        "FLOWX_DEFAULT_SECURITY_REALM_SMTP_FROM",
        help="Address its mail is sent from.",
    ),
    "user": env.text(
        "FLOWX_DEFAULT_SECURITY_REALM_SMTP_USER",
        help="User of that mail server.",
    ),
    "password": env.secret(
        "FLOWX_DEFAULT_SECURITY_REALM_SMTP_PASSWORD",
        help="Password of that user.",
    ),
    "starttls": env.boolean(
        "FLOWX_DEFAULT_SECURITY_REALM_SMTP_STARTTLS",
        default=True,
        help="Use STARTTLS with that mail server.",
    ),
}
REALM_SMTP = _smtp if _smtp["host"] else {}

_keycloak = {
    "BACKEND": "orgmanager.identity.backends.keycloak.Identity",
    "server_url": _keycloak_url,
    "provisioning_realm": _provisioning_realm,
    "provisioning_client_id": _provisioning_client_id or SERVICE_ACCOUNT_CLIENT_ID,
    "provisioning_client_secret": _provisioning_client_secret
    or SERVICE_ACCOUNT_CLIENT_SECRET,
    "service_account_secret": SERVICE_ACCOUNT_CLIENT_SECRET,
    "timeout": _keycloak_timeout,
}
_local_realms = {
    "BACKEND": "orgmanager.identity.backends.local.Identity",
    "path": VAR_DIR / "identity.sqlite3",
}
IDENTITY = _keycloak if _is_remote("SECURITY_OAUTH2_BASE_SERVER_URL") else _local_realms

# Which realms' tokens are looked at: a function of a UUID that answers yes or no.
REALM_LOOKUP = "organizations.access.is_known_organization"
PLATFORM_ACCESS = "organizations.access.may_on_platform"
# Who operates where no realm of operators is set: functions that return a realm or
# None, and of (realm, subject) yes or no.
ADMINS_REALM = "organizations.access.realm_of_admins"
ADMINS_LOOKUP = "organizations.access.is_operating_admin"

AUTH_USER_MODEL = "operators.Operator"
AUTHENTICATION_BACKENDS = [
    "orgmanager.operators.backends.PasswordBackend",
    "orgmanager.operators.backends.ProviderBackend",
]
LOGIN_URL = "admin:login"
# Of mozilla-django-oidc; the addresses and the client depend on what is registered.
OIDC_RP_SCOPES = "openid profile email"
OIDC_USE_PKCE = True  # with S256, its default
OIDC_MAX_STATES = 10  # sign-ins that one browser may have begun
_VALIDATION = "django.contrib.auth.password_validation"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"{_VALIDATION}.UserAttributeSimilarityValidator"},
    {
        "NAME": f"{_VALIDATION}.MinimumLengthValidator",
        "OPTIONS": {"min_length": 12},
    },
    {"NAME": f"{_VALIDATION}.CommonPasswordValidator"},
]

# --- Authorization ----------------------------------------------------------

env.section("SpiceDB")
_spicedb_port = env.integer(
    "FLOWX_LIB_CASCLIENT_SPICEDB_PORT",
    "FLOWX_SPICEDB_PORT",
    default=50051,
    minimum=1,
    maximum=65535,
    help="Port of SpiceDB (gRPC).",
)
_spicedb_token = env.secret(
    "FLOWX_LIB_CASCLIENT_SPICEDB_TOKEN",
    "FLOWX_SPICEDB_TOKEN",
    help="SpiceDB's preshared key.",
)
_spicedb_is_tls = env.boolean(
    "FLOWX_LIB_CASCLIENT_SPICEDB_TLS_ENABLED",
    "FLOWX_SPICEDB_TLS_ENABLED",
    default=False,
    help="Speak TLS with SpiceDB.",
)
_spicedb_ca_file = env.text(
    "SPICEDB_CA_FILE",
    parse=parse_certificates,
    unit="path",
    help="Certificates (PEM) that SpiceDB is checked against; the system's if not set.",
)
_refuse_plain_text(
    "SPICEDB_CA_FILE", _spicedb_is_tls, "FLOWX_LIB_CASCLIENT_SPICEDB_TLS_ENABLED"
)
_spicedb_timeout = env.duration(
    "SPICEDB_TIMEOUT", default="250ms", help="Limit of one permission check."
)
_spicedb_write_timeout = env.duration(
    "SPICEDB_WRITE_TIMEOUT", default="2s", help="Limit of one write of relationships."
)

_spicedb = {
    "BACKEND": "orgmanager.authorization.backends.spicedb.Authorization",
    "host": f"[{_spicedb_host}]" if ":" in _spicedb_host else _spicedb_host,
    "port": _spicedb_port,
    "token": _spicedb_token,
    "tls": _spicedb_is_tls,
    "ca_file": _spicedb_ca_file,
    "timeout": _spicedb_timeout,
    "write_timeout": _spicedb_write_timeout,
}
_local_relationships = {
    "BACKEND": "orgmanager.authorization.backends.local.Authorization",
    "path": VAR_DIR / "authorization.sqlite3",
}
AUTHORIZATION = (
    _spicedb if _is_remote("FLOWX_LIB_CASCLIENT_SPICEDB_HOST") else _local_relationships
)

# --- Licence server ---------------------------------------------------------

env.section("Licence server")


def _parse_public_key(text):
    text = text.replace("\\n", "\n")  # a line end in many a values.yaml
    try:
        load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("is not a public key in PEM") from None
    return text


_licence_public_key = env.text(
    "LICENSE_SERVER_PUBLIC_KEY",
    parse=_parse_public_key,
    has_file=True,
    unit="PEM",
    example="-----BEGIN PUBLIC KEY-----...",
    help="Public key of the licence server. With it no call is made: tokens are "
    "checked on the spot.",
)
_licence_issuer = env.text(
    "LICENSE_SERVER_ISSUER",
    shown="LICENSE_SERVER_URL",
    help="Issuer named in tokens of the licence server.",
)
_licence_timeout = env.duration(
    "LICENSE_SERVER_TIMEOUT",
    default="5s",
    help="Limit of one call to the licence server.",
)

_remote_licences = {
    "BACKEND": "orgmanager.licence_server.backends.http.LicenceServer",
    "url": _licence_server_url,
    "public_key": _licence_public_key,
    "issuer": _licence_issuer or _licence_server_url,
    "timeout": _licence_timeout,
}
_no_licences = {"BACKEND": "orgmanager.licence_server.backends.unset.LicenceServer"}
_local_licences = {
    "BACKEND": "orgmanager.licence_server.backends.local.LicenceServer",
    "path": VAR_DIR / "licence-server.pem",
}
if _licence_server_url or _licence_public_key:
    LICENCE_SERVER = _remote_licences
else:  # it may be missing under production rules: the one role that may
    LICENCE_SERVER = _no_licences if PRODUCTION else _local_licences

# --- Keys -------------------------------------------------------------------

env.section("Keys")


def _parse_master_key(text):
    try:
        if text.startswith("base64:"):
            derive(text, label="well formed")
    except ImproperlyConfigured:
        raise ValueError("is not 32 bytes in base64 after its prefix base64:") from None
    return text


def _parse_master_keys(text):
    return [_parse_master_key(key.strip()) for key in text.split(",") if key.strip()]


def _django_key(master_key):
    return derive(master_key, label="django secret key", size=48).hex()


MASTER_KEY = env.secret(
    "LLM_ENCRYPTION_MASTER_KEY",
    parse=_parse_master_key,
    default=DEFAULT_MASTER_KEY,
    example="base64:$(openssl rand -base64 32)",
    help="Key that provider keys are encrypted with: base64: and 32 bytes, or a "
    "passphrase of 32 characters or more. Keep it: without it they are lost.",
)
DECRYPT_ONLY_KEYS = env.secret(
    "LLM_ENCRYPTION_DECRYPT_ONLY_KEYS",
    parse=_parse_master_keys,
    empty=[],
    unit="comma list",
    example="the master key that was in use before",
    help="Master keys of the past, which can still be read but not written with.",
)
ACCEPT_LOST_KEYS = env.words(
    "LLM_ENCRYPTION_ACCEPT_LOST",
    help="Ids of lost master keys: start although what they encrypted is unreadable.",
)
SECRET_KEY = env.secret(
    "DJANGO_SECRET_KEY",
    parse=matching(r"(?s).{32,}", "32 characters or more"),
    shown="derived from the master key",
    help="Key that the console's cookies and links are signed with.",
)
SECRET_KEY_FALLBACKS = []
if not SECRET_KEY:
    # What is derived from a key that everybody knows, everybody knows. Under
    # production rules it stays empty: Django then signs nothing, and
    # orgmanager.E001 says why.
    if not weakness(MASTER_KEY):
        SECRET_KEY = _django_key(MASTER_KEY)
    elif DEVELOPMENT:
        SECRET_KEY = read_or_create(VAR_DIR / "secret_key")
    SECRET_KEY_FALLBACKS = [
        _django_key(key) for key in DECRYPT_ONLY_KEYS if not weakness(key)
    ]

# --- LLM providers ----------------------------------------------------------

env.section("LLM providers")
LLM_ALLOWED_NETWORKS = env.words(
    "LLM_ALLOWED_NETWORKS",
    parse=ip_network,
    example="10.20.0.0/16",
    help="Private networks in which providers may be called nevertheless.",
)
LLM_CREDENTIAL_CLIENTS = env.words(
    "LLM_CREDENTIAL_CLIENTS",
    default="flowx-integration-designer-sa",
    help="Service accounts that may read a provider's key in clear.",
)

# --- Health -----------------------------------------------------------------

env.section("Health")
HEALTH_ENABLED = {
    component: env.boolean(
        f"MANAGEMENT_HEALTH_{component.upper()}_ENABLED",
        default=True,
        help=f"Include {component} in the health answer.",
    )
    for component in (
        "db",
        "redis",
        "kafka",
        "keycloak",
        "spicedb",
        "license",
        "outbox",
        "keyring",
    )
}
HEALTH_SHOW_DETAILS = env.choice(
    "MANAGEMENT_ENDPOINT_HEALTH_SHOWDETAILS",
    "MANAGEMENT_ENDPOINT_HEALTH_SHOW_DETAILS",
    options=["never", "when-authorized", "always"],
    default="when-authorized",
    help="Who sees more than the status.",
)
HEALTH_COMPONENTS_FILE = env.text(
    "HEALTH_COMPONENTS_FILE",
    parse=Path,
    empty=None,
    unit="path",
    shown="the platform's components",
    help="YAML file of the components to watch.",
)
PROMETHEUS_EXPORT_MIGRATIONS = False  # needs the database before it may be there

# --- Logging ----------------------------------------------------------------

env.section("Logging")
_LEVELS = {"TRACE": "DEBUG", "WARN": "WARNING", "FATAL": "CRITICAL", "OFF": 100}
_levels = {
    "options": ["TRACE", "DEBUG", "INFO", "WARN", "WARNING", "ERROR", "FATAL", "OFF"],
    "default": "INFO",
    "example": "INFO",
}
_root_level = env.choice("LOGGING_LEVEL_ROOT", help="What is logged.", **_levels)
_app_level = env.choice(
    "LOGGING_LEVEL_APP", help="What this service's own code logs.", **_levels
)
_log_format = env.choice(
    "LOGGING_FORMAT",
    options=["json", "text"],
    default="text" if EMBEDDED else "json",
    shown="json; text in the embedded default",
    help="One JSON object per line, or lines for people.",
)
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {
        "secrets": {"()": "orgmanager.logs.SecretFilter", "secrets": env.secrets},
    },
    "formatters": {
        "json": {"()": "orgmanager.logs.JSONFormatter"},
        "text": {"()": "orgmanager.logs.TextFormatter"},
    },
    "handlers": {
        "console": {
            "class": "logging.StreamHandler",
            "formatter": _log_format,
            "filters": ["secrets"],
        }
    },
    "root": {"handlers": ["console"], "level": _LEVELS.get(_root_level, _root_level)},
    "loggers": {
        # Both come with handlers of their own, which would say everything twice.
        "django": {"handlers": [], "level": "NOTSET", "propagate": True},
        "gunicorn.error": {"handlers": [], "level": "INFO", "propagate": True},
        **{
            name: {"level": _LEVELS.get(_app_level, _app_level)}
            for name in ("orgmanager", "organizations", "llmproviders", "health")
        },
    },
}

# --- REST -------------------------------------------------------------------

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "orgmanager.authentication.BearerAuthentication"
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "orgmanager.parsers.JSONParser",
        "orgmanager.parsers.MergePatchParser",
    ],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "orgmanager.problems.problem_handler",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Organization Manager",
    "DESCRIPTION": "Organizations, tenants, users, LLM provider keys and health.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SCHEMA_PATH_PREFIX": "/org/api",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_REQUEST": True,
    "ENUM_NAME_OVERRIDES": {
        "OrganizationStatus": "organizations.models.Organization.Status",
    },
    "PREPROCESSING_HOOKS": ["orgmanager.schema.only_one_prefix"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "orgmanager.schema.add_problems",
        "orgmanager.schema.add_summaries",
        "orgmanager.schema.name_as_on_the_wire",
    ],
}

# --- Console ----------------------------------------------------------------

UNFOLD = {
    "SITE_TITLE": "Organization Manager",
    "SITE_HEADER": "Organization Manager",
    "SITE_SYMBOL": "domain",
    "SITE_URL": None,  # "/" only leads back here
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": "orgmanager.front.favicon"}
    ],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "orgmanager.front.dashboard",
    "TABS": "orgmanager.front.tabs",
    "SIDEBAR": {"navigation": "orgmanager.front.navigation"},
}

# --- What cannot do without -------------------------------------------------

if PRODUCTION:
    env.require(
        "SECURITY_OAUTH2_BASE_SERVER_URL",
        "SECURITY_OAUTH2_SERVICE_ACCOUNT_ADMIN_CLIENT_SECRET",
        "SPRING_DATASOURCE_PASSWORD",
        "FLOWX_LIB_CASCLIENT_SPICEDB_TOKEN",
        "LLM_ENCRYPTION_MASTER_KEY",
    )
    if INSTALLATION_TYPE == "SAAS":
        env.require("SECURITY_OAUTH2_OPERATOR_REALM")
if _is_remote("SPRING_KAFKA_BOOTSTRAP_SERVERS") and _kafka_security.startswith("SASL"):
    env.require("KAFKA_OAUTH_CLIENT_SECRET", "KAFKA_OAUTH_TOKEN_ENDPOINT_URI")

_note = ""
if PRODUCTION and "production" not in PROFILES:
    _note = (
        f"Production rules hold because {_set_addresses[0]} is set and "
        "SPRING_PROFILES_ACTIVE does not name development.\n"
    )
try:
    env.finish(_note)
except ImproperlyConfigured:
    sys.tracebacklimit = 0  # the message is for operators; the way here says nothing
    raise
