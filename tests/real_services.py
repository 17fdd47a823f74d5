"""
The five real services, as tests use them: addresses, and what is really there.

`make test` starts them and sets the variables whose names begin with ``TEST_``.
"""

import os
import time
import uuid
from urllib.parse import urlsplit

import psycopg
from confluent_kafka import Consumer, TopicPartition


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
