"""Every broker publishes, keeps and refuses the same things."""

import base64
import json
import logging
import os
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from orgmanager.broker.backends import kafka, local
from orgmanager.broker.backends.base import Message, ReceivedMessage
from orgmanager.errors import Rejected, Unavailable

PATIENCE = 20  # seconds that a message may take on a busy machine
# Seconds without a message that count as the end of a topic.
QUIET = {local.Consumer: 0.02, kafka.consumer.Consumer: 0.3}
MIB = 1024 * 1024
NOT_JSON = bytes(range(256))
SECRET = "a-secret-that-nobody-may-see"


def kafka_servers():
    """Return the test Kafka's addresses, or skip the test."""
    servers = os.environ.get("TEST_KAFKA_BOOTSTRAP_SERVERS")
    if not servers:
        pytest.skip("TEST_KAFKA_BOOTSTRAP_SERVERS is not set.")
    return servers.split(",")


@pytest.fixture
def prefix():
    """Return a name that nothing else has, for topics, groups and transactions."""
    return f"contract-{uuid.uuid4()}"


@pytest.fixture
def topic(prefix):
    return f"{prefix}.events"


@pytest.fixture
def make_kafka(prefix):
    """Return a function that makes a client of the test Kafka."""
    servers = kafka_servers()
    return lambda **options: kafka.Broker(
        **{"bootstrap_servers": servers, "prefix": prefix, "partitions": 3} | options
    )


@pytest.fixture(
    params=["local", pytest.param("kafka", marks=pytest.mark.services)],
)
def make_broker(request, tmp_path):
    """Return a function that makes a broker; all of one test share their topics."""
    if request.param == "kafka":
        return request.getfixturevalue("make_kafka")
    return lambda **options: local.Broker(path=tmp_path / "topics", **options)


@pytest.fixture
def broker(make_broker, topic):
    """Return a broker that has ``topic``."""
    made = make_broker()
    made.ensure_topic(topic)
    return made


@pytest.fixture
def make_consumer(prefix):
    """Return a function that makes consumers, which leave their group afterwards."""
    made = []

    def make(broker, topic, group="readers"):
        made.append(broker.consumer(topic, group=f"{prefix}-{group}"))
        return made[-1]

    yield make
    for consumer in made:
        consumer.close()


@pytest.fixture
def read(make_consumer):
    """Return a function that reads a topic to its end, as a group of its own."""

    def read_all(broker, topic, *, at_least=1):
        group = f"read-{uuid.uuid4()}"
        return drain(make_consumer(broker, topic, group), at_least)

    return read_all


def drain(consumer, at_least):
    """Return what ``consumer`` finds; wait for ``at_least`` that many messages."""
    found, deadline = [], time.monotonic() + PATIENCE
    while len(found) < at_least and time.monotonic() < deadline:
        if (message := consumer.poll(0.5)) is not None:
            found.append(message)
    while (message := consumer.poll(QUIET[type(consumer)])) is not None:
        found.append(message)
    return found


def messages(topic, *values, key=b"one", **headers):
    return [Message(topic, key, value, headers) for value in values]


def values(received):
    return [message.value for message in received]


# --- Publishing --------------------------------------------------------------


def test_publish_batches_are_read_in_their_order(broker, topic, read):
    batches = [[b"%d" % (n + 1000 * batch) for n in range(200)] for batch in range(3)]
    publisher = broker.publisher(0)
    for batch in batches:
        publisher.publish(messages(topic, *batch))
    assert values(read(broker, topic, at_least=600)) == sum(batches, [])


def test_publish_many_keys_keeps_the_order_of_each(broker, topic, read):
    keys = [str(uuid.uuid4()).encode() for _ in range(20)]
    batch = [Message(topic, key, b"%d" % n, {}) for n in range(10) for key in keys]
    broker.publisher(0).publish(batch)
    received = read(broker, topic, at_least=200)
    for key in keys:
        mine = [message.value for message in received if message.key == key]
        assert mine == [b"%d" % n for n in range(10)]


def test_publish_key_and_headers_arrive_as_they_were(broker, topic, read):
    headers = {"Fx-Organization-Id": str(uuid.uuid4()), "grüße": "é \n", "leer": ""}
    key = str(uuid.uuid4()).encode()
    broker.publisher(0).publish([Message(topic, key, b"{}", headers)])
    (received,) = read(broker, topic)
    assert (received.topic, received.key) == (topic, key)
    assert received.headers == {name: text.encode() for name, text in headers.items()}


@pytest.mark.parametrize(
    "value",
    [
        b'{"b": 1, "a":[ 1.0,2]  }',
        b'{"value": "}, \\"value\\": 1"}',
        '{"name":"Zoë \U0001f600"}'.encode(),
        b'{\n"a": 1}\n',
        b'"a"\r',
        b"",
        b"\n",
        NOT_JSON,
        os.urandom(100_000),
    ],
    ids=["spaces", "quotes", "unicode", "lines", "cr", "empty", "lf", "bytes", "large"],
)
def test_publish_value_arrives_byte_for_byte(broker, topic, read, value):
    broker.publisher(0).publish(messages(topic, value))
    assert values(read(broker, topic)) == [value]


def test_publish_to_two_topics_reaches_both(broker, topic, read):
    other = f"{topic}.other"
    broker.ensure_topic(other)
    broker.publisher(0).publish(messages(topic, b"1") + messages(other, b"2"))
    assert values(read(broker, topic)) == [b"1"]
    assert values(read(broker, other)) == [b"2"]


def test_publish_nothing_leaves_nothing(broker, topic, read):
    publisher = broker.publisher(0)
    publisher.publish([])
    publisher.publish(messages(topic, b"1"))
    assert values(read(broker, topic)) == [b"1"]


def test_publish_too_large_is_rejected_and_nothing_of_the_batch_is_seen(
    make_broker, topic, read
):
    """Fails when an earlier or a later message of the batch stays in the log."""
    broker = make_broker(max_bytes=10_000)
    broker.ensure_topic(topic)
    publisher = broker.publisher(0)
    with pytest.raises(Rejected, match=topic):
        publisher.publish(messages(topic, b"1", os.urandom(100_000), b"2"))
    publisher.publish(messages(topic, b"3"))
    assert values(read(broker, topic)) == [b"3"]


def test_publish_to_a_name_that_is_none_is_rejected(broker, topic, read):
    publisher = broker.publisher(0)
    with pytest.raises(Rejected, match="no name"):
        publisher.publish(messages("no name!", b"1"))
    publisher.publish(messages(topic, b"2"))
    assert values(read(broker, topic)) == [b"2"]


def test_close_publisher_twice_is_harmless(broker, topic, read):
    publisher = broker.publisher(0)
    publisher.publish(messages(topic, b"1"))
    publisher.close()
    publisher.close()
    broker.publisher(0).publish(messages(topic, b"2"))
    assert values(read(broker, topic, at_least=2)) == [b"1", b"2"]


# --- Reading -----------------------------------------------------------------


def test_consumer_goes_on_after_the_last_commit(broker, topic, make_consumer):
    broker.publisher(0).publish(messages(topic, b"1", b"2", b"3"))
    first = make_consumer(broker, topic)
    received = drain(first, 3)
    first.commit(received[1])
    first.close()
    assert values(drain(make_consumer(broker, topic), 1)) == [b"3"]


def test_consumer_sees_again_what_it_did_not_commit(broker, topic, make_consumer):
    broker.publisher(0).publish(messages(topic, b"1", b"2"))
    first = make_consumer(broker, topic)
    assert values(drain(first, 2)) == [b"1", b"2"]
    first.close()
    assert values(drain(make_consumer(broker, topic), 2)) == [b"1", b"2"]


def test_commit_between_messages_loses_none(broker, topic, make_consumer):
    """Fails when a message that comes in while a commit is under way is dropped."""
    sent = [b"%d" % n for n in range(30)]
    broker.publisher(0).publish(messages(topic, *sent))
    consumer, received = make_consumer(broker, topic), []
    deadline = time.monotonic() + PATIENCE
    while len(received) < len(sent) and time.monotonic() < deadline:
        if (message := consumer.poll(0.5)) is not None:
            received.append(message)
            consumer.commit(message)
    assert values(received) == sent


def test_groups_read_without_regard_to_each_other(broker, topic, make_consumer):
    broker.publisher(0).publish(messages(topic, b"1"))
    for group in ("one", "two"):
        consumer = make_consumer(broker, topic, group)
        (message,) = drain(consumer, 1)
        consumer.commit(message)
        assert message.value == b"1"


def test_poll_empty_topic_returns_none_after_the_timeout(broker, topic, make_consumer):
    assert make_consumer(broker, topic).poll(0.2) is None


def test_poll_sees_what_is_published_meanwhile(broker, topic, make_consumer):
    consumer = make_consumer(broker, topic)
    assert consumer.poll(0.2) is None
    broker.publisher(0).publish(messages(topic, b"1"))
    assert values(drain(consumer, 1)) == [b"1"]


def test_close_consumer_twice_is_harmless(broker, topic, make_consumer):
    consumer = make_consumer(broker, topic)
    consumer.close()
    consumer.close()


# --- Topics and reachability -------------------------------------------------


def test_ensure_topic_twice_keeps_what_is_in_it(broker, topic, read):
    broker.publisher(0).publish(messages(topic, b"1"))
    broker.ensure_topic(topic)
    assert values(read(broker, topic)) == [b"1"]


def test_ensure_topic_by_several_at_once_makes_one(make_broker, topic, read):
    brokers = [make_broker() for _ in range(4)]
    with ThreadPoolExecutor(len(brokers)) as pool:
        list(pool.map(lambda broker: broker.ensure_topic(topic), brokers))
    brokers[0].publisher(0).publish(messages(topic, b"1"))
    assert values(read(brokers[0], topic)) == [b"1"]


def test_ensure_topic_with_a_name_that_is_none_is_rejected(broker):
    with pytest.raises(Rejected, match="no name"):
        broker.ensure_topic("no name!")


def test_ping_answers(broker):
    broker.ping()


# --- Local only --------------------------------------------------------------


def test_torn_last_line_is_never_read_and_cut_by_the_next_writer(tmp_path, topic, read):
    broker = local.Broker(path=tmp_path)
    broker.publisher(0).publish(messages(topic, b"1"))
    with (tmp_path / f"{topic}.jsonl").open("ab") as log:
        log.write(b'{"time": "2026-01-01T00:00:00Z", "key": "one", "value": {"tor')
    assert values(read(broker, topic)) == [b"1"]
    broker.publisher(0).publish(messages(topic, b"2"))
    assert values(read(broker, topic, at_least=2)) == [b"1", b"2"]


def test_local_ping_without_a_folder_to_write_is_unavailable(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable):
        local.Broker(path=tmp_path / "file" / "topics").ping()


# --- Kafka only --------------------------------------------------------------


@pytest.mark.services
def test_older_publisher_of_the_shard_is_fenced(make_kafka, topic, read):
    """Fails when two publishers of a shard have different transactional ids."""
    broker = make_kafka()
    broker.ensure_topic(topic)
    older = broker.publisher(0)
    older.publish(messages(topic, b"1"))
    newer = make_kafka().publisher(0)
    with pytest.raises(Unavailable, match="taken over"):
        older.publish(messages(topic, b"2"))
    with pytest.raises(Unavailable, match="closed"):
        older.publish(messages(topic, b"2"))
    newer.publish(messages(topic, b"3"))
    assert values(read(broker, topic, at_least=2)) == [b"1", b"3"]


@pytest.mark.services
def test_publishers_of_other_shards_are_left_alone(make_kafka, topic, read):
    broker = make_kafka()
    broker.ensure_topic(topic)
    first, second = broker.publisher(0), broker.publisher(1)
    first.publish(messages(topic, b"1"))
    second.publish(messages(topic, b"2"))
    first.publish(messages(topic, b"3"))
    assert values(read(broker, topic, at_least=3)) == [b"1", b"2", b"3"]


@pytest.mark.services
@pytest.mark.parametrize("transactional", [True, False])
def test_publish_refused_by_the_broker_is_rejected_before_the_deadline(
    make_kafka, topic, read, transactional
):
    """
    Fails when the delivery reports are looked at after the commit, which then
    waits for its own timeout; and when ``x2`` is sent before ``x1`` is taken.
    """
    make_kafka(max_bytes=10_000).ensure_topic(topic)
    broker = make_kafka(transactional=transactional)
    publisher = broker.publisher(0)
    too_large = os.urandom(200_000)
    batch = messages(topic, b"x0", too_large, b"x2", key=b"x")
    began = time.monotonic()
    with pytest.raises(Rejected, match=f"{topic} with key 'x'.*too large"):
        publisher.publish(batch)
    assert time.monotonic() - began < PATIENCE
    publisher.publish(messages(topic, b"y0", key=b"y"))
    seen = set(values(read(broker, topic)))
    # Without transactions what came before is there, and will come again.
    assert seen == ({b"y0"} if transactional else {b"x0", b"y0"})


@pytest.mark.services
def test_publish_without_transactions_keeps_the_order_of_each_key(
    make_kafka, topic, read
):
    broker = make_kafka(transactional=False)
    broker.ensure_topic(topic)
    keys = [b"a", b"b", b"c"]
    batch = [Message(topic, key, b"%d" % n, {}) for n in range(50) for key in keys]
    broker.publisher(0).publish(batch)
    received = read(broker, topic, at_least=150)
    for key in keys:
        mine = [message.value for message in received if message.key == key]
        assert mine == [b"%d" % n for n in range(50)]


@pytest.mark.services
@pytest.mark.parametrize("make_value", [os.urandom, bytes])
def test_publish_the_largest_message_passes_both_ways(
    make_kafka, topic, read, make_value
):
    """
    Fails when a limit leaves no room for headers, or for decompressing: one value
    cannot be compressed but its headers can, the other nearly vanishes.
    """
    broker = make_kafka()
    broker.ensure_topic(topic)
    value = make_value(50 * MIB)
    headers = {"Fx-Organization-Id": str(uuid.uuid4()), "more": "x" * 4096}
    broker.publisher(0).publish([Message(topic, b"one", value, headers)])
    (received,) = read(broker, topic)
    assert received.value == value
    assert broker.largest_message(topic) > len(value)


@pytest.mark.services
def test_publish_more_than_the_queue_holds_passes(make_kafka, topic, read):
    """Fails when a full queue of librdkafka is not waited for."""
    broker = make_kafka()
    broker.ensure_topic(topic)
    batch = messages(topic, *[b"%d" % n for n in range(15_000)])
    broker.publisher(0).publish(batch)
    received = values(read(broker, topic, at_least=15_000))
    assert received == [message.value for message in batch]


@pytest.mark.services
def test_publish_puts_a_key_where_java_puts_it(make_kafka, topic, read):
    """The hashes are those that Kafka's own tests expect of its murmur2."""
    hashes = {
        b"21": -973932308,
        b"foobar": -790332482,
        b"a-little-bit-long-string": -985981536,
    }
    broker = make_kafka(partitions=5)
    broker.ensure_topic(topic)
    batch = [Message(topic, key, b"{}", {}) for key in hashes]
    broker.publisher(0).publish(batch)
    found = {m.key: m.partition for m in read(broker, topic, at_least=len(batch))}
    assert found == {key: (n & 0x7FFFFFFF) % 5 for key, n in hashes.items()}


@pytest.mark.services
def test_publish_to_a_missing_topic_is_unavailable_and_says_so(make_kafka, topic):
    with pytest.raises(Unavailable, match="Create the topic"):
        make_kafka().publisher(0).publish(messages(topic, b"1"))


@pytest.mark.services
def test_messages_of_an_aborted_transaction_are_not_read(make_kafka, topic, read):
    """Fails when a consumer reads what is not committed: it is in the log."""
    small = f"{topic}.small"
    make_kafka(max_bytes=10_000).ensure_topic(small)
    broker = make_kafka()
    broker.ensure_topic(topic)
    publisher = broker.publisher(0)
    aborted = messages(topic, b"1") + messages(small, os.urandom(200_000))
    with pytest.raises(Rejected):
        publisher.publish(aborted)
    publisher.publish(messages(topic, b"2"))
    assert values(read(broker, topic)) == [b"2"]


@pytest.mark.services
def test_check_publish_missing_topic_is_rejected(make_kafka, topic):
    broker = make_kafka()
    with pytest.raises(Rejected, match=topic):
        broker.check_publish(topic)
    broker.ensure_topic(topic)
    broker.check_publish(topic)


@pytest.fixture
def silent_server():
    """Return the address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def closed_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"127.0.0.1:{port}"


@pytest.mark.parametrize("address", ["silent_server", "closed_port"])
def test_kafka_that_is_down_is_unavailable_within_the_timeout(
    request, address, topic, make_consumer
):
    broker = kafka.Broker(
        bootstrap_servers=[request.getfixturevalue(address)],
        timeout=0.5,
        publish_timeout=0.5,
    )
    consumer = make_consumer(broker, topic)
    calls = [
        broker.ping,
        lambda: broker.ensure_topic(topic),
        lambda: broker.publisher(0),
        lambda: broker.check_publish(topic),
        lambda: consumer.commit(ReceivedMessage(topic, 0, 0, b"", b"", {})),
    ]
    for call in calls:
        began = time.monotonic()
        with pytest.raises(Unavailable, match="127.0.0.1"):
            call()
        assert time.monotonic() - began < 5
    assert consumer.poll(0.1) is None


def test_kafka_that_is_down_says_what_the_connection_said(closed_port):
    broker = kafka.Broker(bootstrap_servers=[closed_port], timeout=0.5)
    with pytest.raises(Unavailable):
        broker.ping()
    with pytest.raises(Unavailable, match="refused"):
        broker.ping()


# --- Kafka with OAUTHBEARER --------------------------------------------------


class _TokenEndpoint(BaseHTTPRequestHandler):
    """Gives unsigned tokens, which the test Kafka takes at their word."""

    def do_POST(self):
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        scheme, _, credentials = self.headers["Authorization"].partition(" ")
        client, _, secret = base64.b64decode(credentials).decode().partition(":")
        self.server.requests.append(form["grant_type"])
        if (scheme, secret) != ("Basic", SECRET):
            self._answer(401, {"error": "invalid_client", "hint": secret})
            return
        now = int(time.time())
        parts = [{"alg": "none"}, {"sub": client, "iat": now, "exp": now + 300}]
        encoded = [base64.urlsafe_b64encode(json.dumps(p).encode()) for p in parts]
        token = ".".join(part.decode().rstrip("=") for part in encoded) + "."
        self._answer(200, {"access_token": token, "expires_in": 300})

    def _answer(self, status, fields):
        body = json.dumps(fields).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def token_endpoint():
    with ThreadingHTTPServer(("127.0.0.1", 0), _TokenEndpoint) as server:
        server.requests = []
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        server.url = f"http://127.0.0.1:{server.server_port}/token"
        yield server
        server.shutdown()


@pytest.fixture
def make_oauth_kafka(make_kafka, token_endpoint):
    """Return a function that makes a client which signs in as ``client_id``."""
    servers = os.environ.get("TEST_KAFKA_OAUTH_BOOTSTRAP_SERVERS")
    if not servers:
        pytest.skip("TEST_KAFKA_OAUTH_BOOTSTRAP_SERVERS is not set.")

    def make(client_id, *, secret=SECRET, **options):
        return make_kafka(
            bootstrap_servers=servers.split(","),
            security_protocol="SASL_PLAINTEXT",
            oauth={
                "client_id": client_id,
                "client_secret": secret,
                "token_endpoint": token_endpoint.url,
            },
            **options,
        )

    return make


def grant(client_id, prefix, *, resources):
    """Let ``client_id`` do all with ``resources`` whose names begin with ``prefix``."""
    admin = AdminClient({"bootstrap.servers": ",".join(kafka_servers())})
    bindings = [
        AclBinding(
            resource,
            prefix,
            ResourcePatternType.PREFIXED,
            f"User:{client_id}",
            "*",
            AclOperation.ALL,
            AclPermissionType.ALLOW,
        )
        for resource in resources
    ]
    for future in admin.create_acls(bindings).values():
        future.result(PATIENCE)


ALL_RESOURCES = [
    ResourceType.TOPIC,
    ResourceType.GROUP,
    ResourceType.TRANSACTIONAL_ID,
]


@pytest.mark.services
def test_oauth_client_with_its_rights_publishes_and_reads(
    make_oauth_kafka, prefix, topic, read, token_endpoint
):
    grant(prefix, prefix, resources=ALL_RESOURCES)
    broker = make_oauth_kafka(prefix)
    broker.ping()
    broker.ensure_topic(topic)
    broker.check_publish(topic)
    broker.publisher(0).publish(messages(topic, b"1"))
    assert values(read(broker, topic)) == [b"1"]
    assert ["client_credentials"] in token_endpoint.requests


@pytest.mark.services
def test_oauth_client_without_rights_is_told_what_to_grant(
    make_kafka, make_oauth_kafka, prefix, topic
):
    outsider = make_oauth_kafka(f"outsider-{prefix}")
    with pytest.raises(Rejected, match="does not let us create it.*grant CREATE"):
        outsider.ensure_topic(topic)
    with pytest.raises(Unavailable, match="OUTBOX_KAFKA_TRANSACTIONAL"):
        outsider.publisher(0)


@pytest.mark.services
def test_publish_to_a_topic_without_the_right_is_rejected(
    make_kafka, make_oauth_kafka, prefix, topic
):
    make_kafka().ensure_topic(topic)
    grant(prefix, prefix, resources=[ResourceType.TRANSACTIONAL_ID])
    publisher = make_oauth_kafka(prefix).publisher(0)
    with pytest.raises(Rejected, match="authorization"):
        publisher.publish(messages(topic, b"1"))


@pytest.mark.services
def test_right_to_describe_alone_is_enough_to_find_a_topic_not_to_publish(
    make_kafka, make_oauth_kafka, prefix, topic
):
    make_kafka().ensure_topic(topic)
    admin = AdminClient({"bootstrap.servers": ",".join(kafka_servers())})
    describe = AclBinding(
        ResourceType.TOPIC,
        topic,
        ResourcePatternType.LITERAL,
        f"User:{prefix}",
        "*",
        AclOperation.DESCRIBE,
        AclPermissionType.ALLOW,
    )
    for future in admin.create_acls([describe]).values():
        future.result(PATIENCE)
    broker = make_oauth_kafka(prefix)
    broker.ensure_topic(topic)
    with pytest.raises(Rejected, match="grant WRITE"):
        broker.check_publish(topic)


@pytest.mark.services
def test_oauth_wrong_secret_is_unavailable_and_shown_nowhere(
    make_oauth_kafka, prefix, topic, caplog
):
    wrong = "a-wrong-secret-that-is-one-all-the-same"
    broker = make_oauth_kafka(prefix, secret=wrong)
    calls = [
        broker.ping,
        lambda: broker.ensure_topic(topic),
        lambda: broker.publisher(0),
        lambda: broker.consumer(topic, group=prefix),
    ]
    for call in calls:
        with (
            caplog.at_level(logging.DEBUG),
            pytest.raises(Unavailable, match="answered 401.*CLIENT_SECRET") as caught,
        ):
            call()
        assert wrong not in caplog.text + str(caught.value) + repr(vars(broker))
