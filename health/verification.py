"""
The checks of the setup guide: "Verify your setup" and "Troubleshooting".

Each is tried for real, and what one leaves behind it takes away again, except
topics: missing ones are created, as the worker would do.
"""

import logging
import re
import socket
from functools import partial
from types import SimpleNamespace
from typing import NamedTuple

import requests
from django.conf import settings
from django.views.decorators.debug import sensitive_variables
from rest_framework.exceptions import AuthenticationFailed

from orgmanager.authentication import SERVICE_ROLE, BearerAuthentication
from orgmanager.authorization import authorization
from orgmanager.broker import broker
from orgmanager.errors import DomainError, Rejected, Unavailable
from orgmanager.identity import addresses, identity
from orgmanager.identity.issuer import TokenIssuer, TokenRequest
from orgmanager.keyring import weakness

from . import probes
from .monitor import UNKNOWN, UP, Call

logger = logging.getLogger(__name__)

OK = "ok"
FAILED = "failed"
SKIPPED = "skipped"

TIMEOUT = 10  # seconds that one check may take
HTTP_TIMEOUT = 5  # seconds

OUTGOING = ("organization_events", "llm_config_changed")  # keys of settings.TOPICS

# What PostgreSQL says when a connection fails, and what to do about it.
_DATABASE_ADVICE = (
    (
        r'database ".*" does not exist',
        "Create it, for example: CREATE DATABASE organization_manager; or correct the "
        "name in SPRING_DATASOURCE_URL.",
    ),
    (
        r'role ".*" does not exist|password authentication failed|no password supplied',
        "Correct SPRING_DATASOURCE_USERNAME and SPRING_DATASOURCE_PASSWORD.",
    ),
    (
        r"no pg_hba.conf entry",
        "Let pg_hba.conf on the server allow this user from here.",
    ),
    (
        r"certificate verify failed|root certificate file",
        "Let sslrootcert in SPRING_DATASOURCE_URL name a file with the certificate "
        "of the authority that signed PostgreSQL's.",
    ),
    (
        r"certificate for .* does not match host name",
        "Use a host name in SPRING_DATASOURCE_URL that PostgreSQL's certificate names.",
    ),
    (
        r"server does not support SSL",
        "Switch SSL on in PostgreSQL (ssl = on, with a certificate and a key).",
    ),
    (
        r"could not translate host name|failed to resolve host",
        "Correct the host name in SPRING_DATASOURCE_URL.",
    ),
)


class Skipped(Exception):
    """There is nothing to check here; the text says why."""


class Failed(Exception):
    """The check failed for a reason with a next step of its own."""

    def __init__(self, reason, next_step):
        super().__init__(reason)
        self.next_step = next_step


class Outcome(NamedTuple):
    """What became of a check. Shapes: ``status``: OK, FAILED or SKIPPED."""

    name: str
    title: str
    status: str
    reason: str
    next_step: str


class Check(NamedTuple):
    """
    One check: it returns what it found, or raises.

    Shapes: ``needs``: names of checks without which this one would say nothing new.
    """

    name: str
    title: str
    attempt: object
    advice: str
    needs: tuple = ()


def verify(url):
    """
    Try every check; yield an Outcome for each.

    ``url``: where this service answers, or "" to skip what asks it.
    """
    bad = {}
    for check in checks(url):
        outcome = _outcome(check, bad)
        if outcome.status != OK:
            # What waits for a skipped check is told what that one waited for.
            causes = (bad[name] for name in check.needs if name in bad)
            bad[check.name] = next(causes, f"{check.name} {outcome.status}")
        yield outcome


def checks(url):
    """Return the checks in the order in which one may explain the next."""
    return [
        *_service(url),
        *_DATABASE,
        *_AUTHORIZATION,
        *_BROKER,
        *_IDENTITY,
        *_OTHERS,
    ]


def _outcome(check, bad):
    cause = next((name for name in check.needs if name in bad), None)
    if cause:
        reason = f"Not tried: {bad[cause]}."
        return Outcome(check.name, check.title, SKIPPED, reason, "")
    try:
        reason = Call(check.attempt).result(timeout=TIMEOUT)
    except Skipped as skip:
        return Outcome(check.name, check.title, SKIPPED, str(skip), "")
    except Failed as failure:
        status, reason = FAILED, str(failure)
        advice = failure.next_step or check.advice
    except DomainError as error:
        status, reason, advice = FAILED, str(error), check.advice
    except Exception as error:
        # Its text could hold anything, so it goes to the log alone.
        logger.exception("Check %s failed.", check.name)
        status, advice = FAILED, check.advice
        reason = f"Unexpected {type(error).__name__}; see the log."
    else:
        status, advice = OK, ""
    return Outcome(check.name, check.title, status, reason, advice)


# --- The service itself -----------------------------------------------------


def _service(url):
    advice = (
        "Start it (make run, or kubectl get pods -l app=organization-manager), or "
        "name its address with --url."
    )
    return [
        Check(
            "service.running",
            "The service is running",
            partial(_ask, url, "/actuator/health/liveness"),
            advice,
        ),
        Check(
            "service.health",
            "The health endpoint returns HTTP 200",
            partial(_ask, url, "/actuator/health"),
            "Mend what is down; the checks below say how.",
            needs=("service.running",),
        ),
    ]


def _ask(url, path):
    if not url:
        raise Skipped("No address was given.")
    try:
        answer = requests.get(url + path, timeout=HTTP_TIMEOUT, allow_redirects=False)
        status = answer.json()["status"]
    except requests.ConnectionError as error:
        raise Unavailable(f"Nobody answers at {url}.") from error
    except (requests.RequestException, ValueError, LookupError, TypeError) as error:
        raise Rejected(f"{url}{path} does not answer as this service does.") from error
    if answer.status_code != 200:
        raise Rejected(f"{url}{path} returns {answer.status_code}, {status}.")
    return f"{url}{path} returns 200, {status}."


# --- Database ---------------------------------------------------------------


def _database_address():
    database = settings.DATABASES["default"]
    if probes.is_local("DATABASES"):
        return f"SQLite in {database['NAME']}."
    return (
        f"PostgreSQL at {database['HOST']}:{database['PORT']}, database "
        f"{database['NAME']}, user {database['USER']}."
    )


def _database_connection():
    try:
        found = probes.check_database()
    except Unavailable as error:
        for symptom, advice in _DATABASE_ADVICE:
            if re.search(symptom, str(error)):
                raise Failed(str(error), advice) from error
        raise
    return _reason_if_up(found)


def _database_permissions():
    with probes.own_connection() as own, own.cursor() as cursor:
        cursor.execute("BEGIN")
        try:
            cursor.execute("CREATE TABLE orgmanager_verify_setup (id integer)")
            cursor.execute("INSERT INTO orgmanager_verify_setup VALUES (1)")
        finally:
            cursor.execute("ROLLBACK")
    return "The user may create tables and write to them."


def _probe(name):
    return _reason_if_up(probes.COMPONENTS[name].probe())


def _reason_if_up(found):
    if found.status == UNKNOWN:
        raise Skipped(f"{found.reason} {found.next_step}")
    if found.status != UP:
        raise Failed(found.reason, found.next_step)
    return found.reason


_DATABASE = [
    Check(
        "database.address",
        "The JDBC URL can be read",
        _database_address,
        "Correct SPRING_DATASOURCE_URL.",
    ),
    Check(
        "database.connection",
        "The database exists and lets us in",
        _database_connection,
        probes.COMPONENTS["database"].advice,
        needs=("database.address",),
    ),
    Check(
        "database.permissions",
        "The database user has the permissions it needs",
        _database_permissions,
        "Make the user the owner of the schema, or GRANT CREATE, USAGE on it.",
        needs=("database.connection",),
    ),
    Check(
        "database.migrations",
        "Database migrations have completed",
        partial(_probe, "migrations"),
        "Run manage.py migrate.",
        needs=("database.connection",),
    ),
]

# --- SpiceDB ----------------------------------------------------------------


def _authorization_network():
    if "host" not in settings.AUTHORIZATION:
        return "Relationships are kept on this machine; no network is needed."
    host = settings.AUTHORIZATION["host"].strip("[]")
    port = settings.AUTHORIZATION["port"]
    try:
        socket.create_connection((host, port), timeout=HTTP_TIMEOUT).close()
    except OSError as error:
        raise Unavailable(f"{host}:{port} cannot be reached: {error}.") from error
    return f"{host}:{port} takes connections."


def _authorization_token():
    authorization.ping()
    return "The authorization service takes our token."


_AUTHORIZATION = [
    Check(
        "authorization.network",
        "SpiceDB is reachable",
        _authorization_network,
        "Check that SpiceDB runs, FLOWX_LIB_CASCLIENT_SPICEDB_HOST and _PORT, and that "
        "the network policy lets gRPC through (label flowx.ai/egress-s-spicedb).",
    ),
    Check(
        "authorization.token",
        "The SpiceDB connection is established",
        _authorization_token,
        "Set FLOWX_LIB_CASCLIENT_SPICEDB_TOKEN to SpiceDB's preshared key. Where the "
        "reason speaks of SSL: _TLS_ENABLED as SpiceDB has it, and SPICEDB_CA_FILE.",
        needs=("authorization.network",),
    ),
    Check(
        "authorization.schema",
        "The CAS client is initialized",
        partial(_probe, "authorization"),
        "Start a worker, which applies the schema: manage.py run_worker.",
        needs=("authorization.token",),
    ),
]

# --- Kafka ------------------------------------------------------------------


def _broker_topics():
    for topic in settings.TOPICS.values():
        broker.ensure_topic(topic)
    return f"There are {', '.join(settings.TOPICS.values())}."


def _broker_publish():
    for topic in _outgoing():
        broker.check_publish(topic)
    return f"We may publish to {', '.join(_outgoing())}. No message was left there."


def _broker_size():
    limit = settings.KAFKA_MESSAGE_MAX_BYTES
    for topic in _outgoing():
        taken = broker.largest_message(topic)
        if taken < limit:
            raise Rejected(
                f"{topic} takes messages of up to {taken} bytes, and "
                f"KAFKA_MESSAGE_MAX_BYTES is {limit}."
            )
    return f"Messages of KAFKA_MESSAGE_MAX_BYTES, {limit} bytes, are taken."


def _outgoing():
    return [settings.TOPICS[name] for name in OUTGOING]


_BROKER = [
    Check(
        "broker.connection",
        "The Kafka bootstrap servers are reachable",
        partial(_probe, "broker"),
        probes.COMPONENTS["broker"].advice,
    ),
    Check(
        "broker.topics",
        "The topics exist",
        _broker_topics,
        "Create the topic, or let this service's user create and describe topics.",
        needs=("broker.connection",),
    ),
    Check(
        "broker.publish",
        "The service can publish to its topics",
        _broker_publish,
        "Give this service's user the right to write to the topic, and to use "
        "transactional ids.",
        needs=("broker.topics",),
    ),
    Check(
        "broker.size",
        "Large messages fit",
        _broker_size,
        "Raise max.message.bytes of the topic, or lower KAFKA_MESSAGE_MAX_BYTES.",
        needs=("broker.topics",),
    ),
    Check(
        "outbox.lag",
        "Events reach the broker",
        partial(_probe, "outbox"),
        probes.COMPONENTS["outbox"].advice,
        needs=("database.migrations", "broker.connection"),
    ),
]

# --- Keycloak ---------------------------------------------------------------


def _security_type():
    return f"SECURITY_TYPE is {settings.SECURITY_TYPE}."


def _service_account_realm():
    name = settings.SERVICE_ACCOUNT_REALM
    realm = identity.find_realm(name)
    if realm is None:
        raise Skipped(f"Realm {name} is made when the organization registers.")
    if not realm["enabled"]:
        raise Failed(f"Realm {name} is disabled.", "Enable it in Keycloak.")
    return f"Realm {name} is there."


def _service_account_secret():
    _fetch_token()
    return f"{settings.SERVICE_ACCOUNT_CLIENT_ID} gets a token with its secret."


@sensitive_variables()
def _service_account_roles():
    header = {"HTTP_AUTHORIZATION": f"Bearer {_fetch_token()}"}
    try:
        principal, _ = BearerAuthentication().authenticate(SimpleNamespace(META=header))
    except AuthenticationFailed as error:
        raise Rejected(
            f"We refuse the token of {settings.SERVICE_ACCOUNT_CLIENT_ID} ourselves: "
            "its issuer, audience or key is not what we expect; the log says which."
        ) from error
    return f"{principal.client_id} has the role {SERVICE_ROLE} and our audience."


@sensitive_variables()
def _fetch_token():
    """Return an access token of this service's own account."""
    realm, client_id = (
        settings.SERVICE_ACCOUNT_REALM,
        settings.SERVICE_ACCOUNT_CLIENT_ID,
    )
    secret = settings.SERVICE_ACCOUNT_CLIENT_SECRET
    form = {
        "grant_type": "client_credentials",
        "client_id": client_id,
        "client_secret": secret or identity.client_secret(realm, client_id),
    }
    if probes.is_local("IDENTITY"):
        issuer = TokenIssuer(identity, identity.signing_realm(realm))
        _, body, _ = issuer.create_token_response(TokenRequest(form, {}))
    else:
        body = _post(addresses.token_endpoint(realm), form)
    if "access_token" not in body:
        said = body.get("error_description") or body.get("error")
        raise Rejected(f"The identity provider gives {client_id} no token: {said}.")
    return body["access_token"]


def _post(address, form):
    try:
        answer = requests.post(
            address, data=form, timeout=HTTP_TIMEOUT, allow_redirects=False
        )
        body = answer.json()
    except (requests.RequestException, ValueError) as error:
        raise Unavailable(f"{address} does not answer as expected.") from error
    return body if isinstance(body, dict) else {}


_IDENTITY = [
    Check(
        "identity.security-type",
        "SECURITY_TYPE is set to jwt-public-key",
        _security_type,
        "Set SECURITY_TYPE to jwt-public-key, or unset it.",
    ),
    Check(
        "identity.connection",
        "Keycloak is reachable",
        partial(_probe, "identity"),
        probes.COMPONENTS["identity"].advice,
    ),
    Check(
        "identity.realm",
        "The service-account realm is there",
        _service_account_realm,
        "Check the provisioning account and its role create-realm in Keycloak.",
        needs=("identity.connection",),
    ),
    Check(
        "identity.secret",
        "The service account's secret matches Keycloak's",
        _service_account_secret,
        "Set SECURITY_OAUTH2_SERVICE_ACCOUNT_ADMIN_CLIENT_SECRET to the secret of that "
        "client in Keycloak.",
        needs=("identity.realm",),
    ),
    Check(
        "identity.roles",
        "The service account has its role",
        _service_account_roles,
        f"Give the service account the realm role {SERVICE_ROLE}, and the client the "
        "client scope that adds our audience.",
        needs=("identity.secret",),
    ),
]

# --- The rest ---------------------------------------------------------------


def _master_key():
    reason = _probe("keyring")
    if (weak := weakness(settings.MASTER_KEY)) and settings.PRODUCTION:
        raise Rejected(f"LLM_ENCRYPTION_MASTER_KEY {weak}.")
    return reason


_OTHERS = [
    Check(
        "cache.connection",
        "Redis keeps what it is given",
        partial(_probe, "cache"),
        probes.COMPONENTS["cache"].advice,
    ),
    Check(
        "keys.master-key",
        "Secrets can be read and written",
        _master_key,
        "Set LLM_ENCRYPTION_MASTER_KEY to base64: and the output of: openssl rand "
        "-base64 32",
    ),
    Check(
        "licence-server.connection",
        "The licence server is reachable",
        partial(_probe, "licenceServer"),
        probes.COMPONENTS["licenceServer"].advice,
    ),
]
