"""How each built-in component is: one function per component, and all together."""

import functools
import uuid
from contextlib import contextmanager
from typing import NamedTuple

from django.conf import settings
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.db import Error, connection
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone
from redis.exceptions import RedisError

from orgmanager.authorization import authorization
from orgmanager.authorization.schema import PLATFORM
from orgmanager.broker import broker
from orgmanager.errors import Unavailable
from orgmanager.identity import identity
from orgmanager.keyring import keyring, weakness
from orgmanager.licence_server import licence_server
from orgmanager.outbox import relay

from .monitor import AFFECTED, DEGRADED, DOWN, UNKNOWN, UP, Finding, Watch, one_line

MAX_LAG = 60  # seconds that an event may be owed

# What a process needs to serve at all. An outage of anything else must not take
# every pod out: without it much still works, and all of it comes back by itself.
READINESS = ("database", "migrations", "keyring")

NOBODY = str(uuid.UUID(int=0))


def check_database():
    with own_connection() as own, own.cursor() as cursor:
        if own.vendor == "postgresql":
            cursor.execute("SELECT pg_is_in_recovery()")
            if cursor.fetchone()[0]:
                return Finding(
                    DOWN,
                    "PostgreSQL answers, but as a replica that takes no changes.",
                    "Let SPRING_DATASOURCE_URL lead to the primary.",
                )
        else:
            # Unlike SELECT 1 this reads the file.
            cursor.execute("SELECT count(*) FROM sqlite_master")
    return Finding(UP, f"{own.display_name} answers.")


def check_migrations():
    with own_connection() as own:
        pending = pending_migrations(own)
    if pending:
        return Finding(
            DOWN,
            f"{len(pending)} migrations are pending, the first is {pending[0]}.",
        )
    return Finding(UP, "Every migration of this version is applied.")


def check_cache():
    key = f"health-{uuid.uuid4()}"
    cache.set(key, key, timeout=5)
    kept = cache.get(key)
    cache.delete(key)
    if kept != key:
        raise Unavailable(f"The cache does not keep what it is given.{_why_not()}")
    return Finding(UP, "The cache keeps what it is given.")


def check_broker():
    broker.ping()
    return Finding(UP, "The broker answers.")


def check_identity():
    identity.ping()
    return Finding(UP, "The identity provider answers.")


def check_authorization():
    authorization.ping()
    # One that lacks our schema answers too, and refuses every check.
    authorization.check(PLATFORM, NOBODY, "platform_health_read", NOBODY)
    return Finding(UP, "The authorization service answers and has our schema.")


def check_licence_server():
    if ".backends.unset." in settings.LICENCE_SERVER["BACKEND"]:
        return Finding(
            UNKNOWN,
            "No licence server is set: nothing can be registered.",
            "Set LICENSE_SERVER_URL or LICENSE_SERVER_PUBLIC_KEY.",
        )
    licence_server.ping()
    return Finding(UP, "The licence server answers.")


def check_outbox():
    owed = relay.lag()
    if owed["blocked"]:
        return Finding(
            DEGRADED,
            f"The broker refused an event in {owed['blocked']} streams: those stand "
            "still.",
            "Look at the event in the console; then manage.py retry_delivery, or "
            "skip_event.",
        )
    oldest_at = owed["oldest_at"]
    waited = (timezone.now() - oldest_at).total_seconds() if oldest_at else 0
    if waited > MAX_LAG:
        return Finding(
            DEGRADED,
            f"{owed['pending']} events are owed to the broker, the oldest for "
            f"{waited:.0f} s.",
        )
    return Finding(UP, f"{owed['pending']} events are on their way to the broker.")


def check_keyring():
    try:
        token = keyring.encrypt(b"health", context=("health",))
        keyring.decrypt(token, context=("health",))
    except ImproperlyConfigured as error:
        raise Unavailable(str(error)) from error
    if reason := weakness(settings.MASTER_KEY):
        return Finding(UP, f"Secrets can be read. LLM_ENCRYPTION_MASTER_KEY {reason}.")
    return Finding(UP, "Secrets can be read.")


class Component(NamedTuple):
    """
    A component: how to ask it, and what to do when it is not well.

    Shapes: ``needs``: names of components; ``toggle``: key of
    settings.HEALTH_ENABLED; ``setting``: where its backend is chosen, or "".
    Units: ``timeout``: seconds.
    """

    probe: object
    toggle: str
    advice: str
    setting: str = ""
    needs: tuple = ()
    timeout: float = 1.0

    def next_step(self):
        """Return what to do, on this machine or about another system."""
        if self.setting and is_local(self.setting):
            return f"Check the disk, and whose the files below {settings.VAR_DIR} are."
        return self.advice


# What others need comes before them, so that the root cause is read first.
COMPONENTS = {
    "database": Component(
        check_database,
        "db",
        "Check that PostgreSQL runs, SPRING_DATASOURCE_URL, _USERNAME and _PASSWORD, "
        "and the network policy.",
        setting="DATABASES",
    ),
    "migrations": Component(
        check_migrations, "db", "Run manage.py migrate.", needs=("database",)
    ),
    "keyring": Component(
        check_keyring, "keyring", "Correct LLM_ENCRYPTION_MASTER_KEY."
    ),
    "broker": Component(
        check_broker,
        "kafka",
        "Check that Kafka runs, SPRING_KAFKA_BOOTSTRAP_SERVERS, and the network "
        "policy. Events wait and are delivered afterwards.",
        setting="BROKER",
    ),
    "outbox": Component(
        check_outbox,
        "outbox",
        "See that a worker runs (manage.py run_worker), and what its log says.",
        needs=("database", "broker"),
    ),
    "cache": Component(
        check_cache,
        "redis",
        "Check that Redis runs, SPRING_DATA_REDIS_HOST, _PASSWORD and _SSL_ENABLED, "
        "REDIS_CA_FILE, and the network policy. Limits on failures are kept by each "
        "process alone until then.",
    ),
    "identity": Component(
        check_identity,
        "keycloak",
        "Check that Keycloak runs, SECURITY_OAUTH2_BASE_SERVER_URL, and the network "
        "policy.",
        setting="IDENTITY",
    ),
    "authorization": Component(
        check_authorization,
        "spicedb",
        "Check that SpiceDB runs, FLOWX_LIB_CASCLIENT_SPICEDB_HOST, _PORT, _TOKEN and "
        "_TLS_ENABLED, SPICEDB_CA_FILE, that the network policy lets gRPC through, and "
        "that a worker runs: it applies the schema.",
        setting="AUTHORIZATION",
    ),
    "licenceServer": Component(
        check_licence_server,
        "license",
        "Check LICENSE_SERVER_URL and the way out of the cluster. Only registration "
        "and new licences need it.",
        setting="LICENCE_SERVER",
    ),
}


def components():
    """Return the names of the components that are not switched off."""
    return [
        name
        for name, component in COMPONENTS.items()
        if settings.HEALTH_ENABLED[component.toggle]
    ]


def report(names=None):
    """
    Ask all components, or those of ``names`` that are not switched off, at once.

    It takes as long as the slowest, and no longer than its timeout.

    Shapes: {name: Finding}, in the order of COMPONENTS.
    """
    asked = [name for name in components() if names is None or name in names]
    calls = {name: _watches[name].begin() for name in asked}
    findings = {name: _watches[name].finding(call) for name, call in calls.items()}
    return {name: _with_cause(name, findings) for name in asked}


def overall(findings):
    """
    Return the one status of ``findings``.

    DOWN, at which load balancers and Kubernetes turn away, only when what it takes
    to serve is down. Whatever else is wrong makes it DEGRADED.
    """
    wrong = {name: f for name, f in findings.items() if f.status not in (UP, UNKNOWN)}
    if any(name in READINESS and f.status != DEGRADED for name, f in wrong.items()):
        return DOWN
    return DEGRADED if wrong else UP


def _with_cause(name, findings):
    """Return the finding, or AFFECTED when what it needs is down."""
    found = findings[name]
    if found.status in (UP, UNKNOWN):
        return found
    for cause in COMPONENTS[name].needs:
        if cause in findings and findings[cause].status == DOWN:
            return found._replace(
                status=AFFECTED,
                reason=f"{cause} is down. {found.reason}",
                next_step=f"Look at {cause} first.",
                affected_by=cause,
            )
    return found


def is_local(setting):
    """Say whether the role of ``setting`` is played by files of this machine."""
    value = getattr(settings, setting)
    if setting == "DATABASES":
        return connection.vendor == "sqlite"
    return ".backends.local." in value["BACKEND"]


@contextmanager
def own_connection():
    """
    Yield a connection to the database that comes from no pool.

    A pool that is used up means that there is much to do, not that the database
    is down: a pod that is taken out for it leaves more to do for the others.

    Raises: Unavailable for whatever the database says.
    """
    own = connection.copy()
    own.settings_dict["OPTIONS"].pop("pool", None)
    try:
        yield own
    except Error as error:
        raise Unavailable(f"{own.display_name} says: {one_line(error)}") from error
    finally:
        own.close()


def pending_migrations(own):
    """Return the names of migrations that ``own`` lacks, as "app.name", sorted."""
    applied = MigrationRecorder(own).applied_migrations()
    return sorted(".".join(key) for key in _known_migrations() - applied.keys())


@functools.cache
def _known_migrations():
    # They are part of the code, and reading them takes 0.1 s.
    return frozenset(MigrationLoader(None).disk_migrations)


def _why_not():
    """Return what Redis says; Django's cache is told to swallow it."""
    try:
        cache.client.get_client(write=True).ping()
    except AttributeError:
        return ""  # another cache
    except RedisError as error:
        location = settings.CACHES["default"]["LOCATION"]
        return f" {location}: {type(error).__name__}: {error}"
    return ""


def _make_watches():
    return {name: Watch(name, component) for name, component in COMPONENTS.items()}


_watches = _make_watches()


def forget(**kwargs):
    """Ask anew: another setting may be another system."""
    _watches.update(_make_watches())


setting_changed.connect(forget, dispatch_uid="health.probes.forget")
