"""A Kafka cluster."""

import threading
from concurrent.futures import TimeoutError as FutureTimeout

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import (
    AclOperation,
    AdminClient,
    ConfigResource,
    NewTopic,
)

from ....errors import Rejected
from ...oauth import TokenSource
from ..base import BaseBroker
from .consumer import Consumer
from .failures import NO_RIGHT, ClientLog, Complaints, failure
from .publisher import RECORD_OVERHEAD, Publisher


class Broker(BaseBroker):
    """Topics of a Kafka cluster; a connection is made by whoever first needs it."""

    def __init__(
        self,
        *,
        bootstrap_servers,
        max_bytes=52_428_800,
        security_protocol="PLAINTEXT",
        ca_file="",
        oauth=None,
        transactional=True,
        prefix="organization-manager",
        partitions=6,
        replication_factor=-1,
        timeout=5,
        publish_timeout=30,
    ):
        """
        ``prefix`` begins the transactional ids: two installations on one cluster
        must not share it, or they fence each other.

        Without ``transactional`` no transactional id is used, for clusters that
        grant none; a publisher that wakes up late can then repeat old messages.

        Shapes: ``bootstrap_servers``: ["host:port"]; ``oauth``: {"client_id",
        "client_secret", "token_endpoint"}, for the SASL protocols.
        Units: ``max_bytes``: the largest value; ``timeout``: seconds for
        everything but publishing; ``partitions`` and ``replication_factor``: of
        topics that are created, -1 for the cluster's own default.
        """
        self._servers = ",".join(bootstrap_servers)
        self._max_bytes = max_bytes
        self._transactional = transactional
        self._prefix = prefix
        self._partitions = partitions
        self._replication_factor = replication_factor
        self._timeout = timeout
        self._publish_timeout = publish_timeout
        self._config = {
            "bootstrap.servers": self._servers,
            "client.id": prefix,
            "security.protocol": security_protocol,
            "socket.keepalive.enable": True,
            "reconnect.backoff.max.ms": 2000,
            "allow.auto.create.topics": False,
            "log_level": 4,
            # An idle connection that a broker closes is nothing to report.
            "log.connection.close": False,
        }
        self._tokens = None
        if ca_file:
            self._config["ssl.ca.location"] = str(ca_file)
        if security_protocol.startswith("SASL_"):
            self._tokens = TokenSource(**oauth, timeout=timeout)
            self._config["sasl.mechanisms"] = "OAUTHBEARER"
            self._config["oauth_cb"] = lambda _config: self._tokens.fetch()
        self._admin = None
        self._admin_complaints = Complaints()
        self._admin_lock = threading.Lock()

    def publisher(self, shard):
        self._check_token()
        transactional_id = f"{self._prefix}-outbox-{shard}"
        return Publisher(
            self._config,
            transactional_id=transactional_id if self._transactional else None,
            max_bytes=self._max_bytes,
            timeout=self._publish_timeout,
        )

    def consumer(self, topic, *, group):
        self._check_token()
        return Consumer(
            self._config,
            topic,
            group=group,
            max_bytes=self._max_bytes,
            timeout=self._timeout,
        )

    def ensure_topic(self, topic):
        """
        Create ``topic`` for messages of our size unless it exists.

        A topic that exists stays as it is: more partitions would part keys from
        their past.

        Raises: Unavailable; Rejected when it is missing and may not be created.
        """
        if self._find_topic(topic) is not None:
            return
        limit = str(self._max_bytes + RECORD_OVERHEAD)
        new = NewTopic(
            topic,
            num_partitions=self._partitions,
            replication_factor=self._replication_factor,
            config={"max.message.bytes": limit},
        )
        try:
            self._ask(lambda admin, **how: admin.create_topics([new], **how)[topic])
        except KafkaException as error:
            code = error.args[0].code()
            if code == KafkaError.TOPIC_ALREADY_EXISTS:
                return  # somebody else was faster
            if code in NO_RIGHT:
                raise Rejected(
                    f"Topic {topic} does not exist and Kafka does not let us create "
                    f"it. Create it with max.message.bytes={limit}, or grant CREATE."
                ) from error
            raise self._failure(f"create topic {topic}", error) from error

    def check_publish(self, topic):
        """
        Return None if we may publish to ``topic``; nothing is sent.

        Raises: Unavailable; Rejected without the right, or without the topic.
        """
        found = self._find_topic(topic, include_authorized_operations=True)
        if found is None or AclOperation.WRITE not in found.authorized_operations:
            raise Rejected(
                f"Kafka does not let us publish to topic {topic}: it does not exist, "
                "or we lack the right. Create it, or grant WRITE and DESCRIBE on it."
            )
        self.publisher("check").close()

    def largest_message(self, topic):
        """Return how many bytes a message of ``topic`` may have, all included."""
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
        try:
            config = self._ask(
                lambda admin, **how: admin.describe_configs([resource], **how)[resource]
            )
        except KafkaException as error:
            raise self._failure(f"describe topic {topic}", error) from error
        return int(config["max.message.bytes"].value)

    def ping(self):
        try:
            self._ask(lambda admin, **how: admin.describe_cluster(**how))
        except KafkaException as error:
            raise self._failure("describe the cluster", error) from error

    def _find_topic(self, topic, **options):
        """Return the description of ``topic``, or None if we can see none."""
        # Unlike the list of topics this creates none where brokers do so unasked.
        topics = TopicCollection([topic])
        try:
            return self._ask(
                lambda admin, **how: admin.describe_topics(topics, **how)[topic],
                **options,
            )
        except KafkaException as error:
            # Who may not see a topic is not told whether there is one.
            if error.args[0].code() in {KafkaError.UNKNOWN_TOPIC_OR_PART, *NO_RIGHT}:
                return None
            raise self._failure(f"look for topic {topic}", error) from error

    def _ask(self, question, **options):
        """Return the result of the future that ``question`` returns."""
        with self._admin_lock:
            if self._admin is None:
                self._check_token()
                config = self._config | {"error_cb": self._admin_complaints}
                self._admin = AdminClient(config, logger=ClientLog())
        future = question(self._admin, request_timeout=self._timeout, **options)
        try:
            result = future.result(self._timeout + 1)
        except FutureTimeout as error:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error
        finally:
            self._admin.poll(0)  # what it has to say is said here
        self._admin_complaints.last = ""
        return result

    def _check_token(self):
        """Say now what is wrong, for a new client without a token waits for 10 s."""
        if self._tokens is not None:
            self._tokens.fetch()

    def _failure(self, doing, error):
        return failure(self._servers, doing, error.args[0], self._admin_complaints)
