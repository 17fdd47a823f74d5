"""
The five real services, as tests use them: addresses, and what is really there.

`make test` starts them and sets the variables whose names begin with ``TEST_``.
"""

import json
import os
import socket
import time
import uuid
from urllib.parse import urlsplit

import psycopg
import requests
from confluent_kafka import Consumer, TopicPartition

CALL_TIMEOUT = 30  # seconds of a call to Keycloak's admin API


def postgresql(database=None):
    """Return a connection to ``database``, or to the one all tests share."""
    url = urlsplit(os.environ["TEST_POSTGRESQL_URL"])
    return psycopg.connect(
        host=url.hostname,
        port=url.port,
        user=url.username,
        password=url.password,
        dbname=database or url.path[1:],
        autocommit=True,
        connect_timeout=3,
    )


def environment(name, var, *, service_accounts, redis_number=None):
    """
    Return all variables of an installation called ``name`` on the five services.

    It has the database ``name`` and topics and realms of its own.
    """
    redis = urlsplit(os.environ["TEST_REDIS_URL"])
    spicedb = urlsplit(f"//{os.environ['TEST_SPICEDB_ADDRESS']}")
    return {
        **database_and_broker(name, var),
        "SPRING_DATA_REDIS_HOST": redis.hostname,
        "SPRING_DATA_REDIS_PORT": str(redis.port),
        "SPRING_DATA_REDIS_PASSWORD": redis.password,
        "SPRING_DATA_REDIS_DATABASE": str(redis_number or redis.path[1:]),
        "SECURITY_OAUTH2_BASE_SERVER_URL": os.environ["TEST_KEYCLOAK_URL"],
        "SECURITY_OAUTH2_SAREALM": service_accounts,
        "SECURITY_OAUTH2_SERVICE_ACCOUNT_ADMIN_CLIENT_SECRET": f"secret-of-{name}",
        "SECURITY_OAUTH2_PROVISIONING_CLIENT_ID": os.environ["TEST_KEYCLOAK_CLIENT_ID"],
        "SECURITY_OAUTH2_PROVISIONING_CLIENT_SECRET": os.environ[
            "TEST_KEYCLOAK_CLIENT_SECRET"
        ],
        "FLOWX_LIB_CASCLIENT_SPICEDB_HOST": spicedb.hostname,
        "FLOWX_LIB_CASCLIENT_SPICEDB_PORT": str(spicedb.port),
        "FLOWX_LIB_CASCLIENT_SPICEDB_TOKEN": os.environ["TEST_SPICEDB_TOKEN"],
        "LLM_ENCRYPTION_MASTER_KEY": f"a passphrase of more than 32 characters {name}",
    }


def database_and_broker(name, var):
    """Return the variables of one that has PostgreSQL and Kafka, and no more."""
    database = urlsplit(os.environ["TEST_POSTGRESQL_URL"])
    return {
        **{each: os.environ[each] for each in ("PATH", "HOME")},
        "ORGMANAGER_VAR_DIR": str(var),
        "SPRING_PROFILES_ACTIVE": "development",
        "SPRING_DATASOURCE_URL": (
            f"jdbc:postgresql://{database.hostname}:{database.port}/{name}"
        ),
        "SPRING_DATASOURCE_USERNAME": database.username,
        "SPRING_DATASOURCE_PASSWORD": database.password,
        "SPRING_KAFKA_BOOTSTRAP_SERVERS": os.environ["TEST_KAFKA_BOOTSTRAP_SERVERS"],
        "KAFKA_TOPIC_NAMING_ENVIRONMENT": name,
        "KAFKA_CONSUMER_GROUP_ID": name,
    }


def read_topic(topic, *, timeout=60):
    """
    Return all committed messages of ``topic``, from its beginning to its end.

    Shapes: confluent_kafka.Message, in order within each partition.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": os.environ["TEST_KAFKA_BOOTSTRAP_SERVERS"],
            "group.id": f"reader-{uuid.uuid4().hex}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    left = set(consumer.list_topics(topic, timeout=20).topics[topic].partitions)
    consumer.assign([TopicPartition(topic, each, 0) for each in left])
    found, deadline = [], time.monotonic() + timeout
    while left and time.monotonic() < deadline:
        message = consumer.poll(1)
        if message is None:
            continue
        if message.error():
            left.discard(message.partition())
            continue
        found.append(message)
    consumer.close()
    assert not left, "the topic could not be read to its end"
    return found


def free_port():
    """Return a port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Administrator:
    """Keycloak's own administrator, who sees every realm; for a minute."""

    def __init__(self):
        self.url = os.environ["TEST_KEYCLOAK_URL"]
        answer = requests.post(
            f"{self.url}/realms/master/protocol/openid-connect/token",
            data={
                "grant_type": "password",
                "client_id": "admin-cli",
                "username": "admin",
                "password": os.environ["TEST_KEYCLOAK_ADMIN_PASSWORD"],
            },
            timeout=CALL_TIMEOUT,
        )
        self._headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}

    def call(self, method, path, body=None, **options):
        """Return what the admin API says; ``options`` as request() takes them."""
        answer = self.request(method, path, body, **options)
        return answer.json() if answer.content else None

    def request(self, method, path, body=None, *, accept=(200, 201, 204)):
        """Call the admin API; ``accept``: the statuses that are no failure."""
        answer = requests.request(
            method,
            f"{self.url}/admin{path}",
            json=body,
            headers=self._headers,
            timeout=CALL_TIMEOUT,
        )
        assert answer.status_code in accept, (method, path, answer.text)
        return answer

    def realms(self):
        """Return {name: our marker or None} of all realms there are."""
        brief = self.call("GET", "/realms?briefRepresentation=true")
        names = [each["realm"] for each in brief]
        return {name: self.marker(name) for name in names}

    def names(self):
        brief = self.call("GET", "/realms?briefRepresentation=true")
        return {each["realm"] for each in brief}

    def marker(self, name):
        realm = self.call("GET", f"/realms/{name}")
        return (realm.get("attributes") or {}).get("orgmanager.marker")

    def export(self, name):
        """Return all that an export of the realm holds, in an order of its own."""
        what = "exportClients=true&exportGroupsAndRoles=true"
        return _sorted(self.call("POST", f"/realms/{name}/partial-export?{what}"))


def _sorted(value):
    """Return ``value`` with every list sorted: Keycloak's come in any order."""
    if isinstance(value, dict):
        return {name: _sorted(each) for name, each in value.items()}
    if isinstance(value, list):
        return sorted(
            map(_sorted, value), key=lambda each: json.dumps(each, sort_keys=True)
        )
    return value
