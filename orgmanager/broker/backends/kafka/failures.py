"""What librdkafka's errors mean."""

import logging

from confluent_kafka import KafkaError

from ....errors import Rejected, Unavailable

logger = logging.getLogger(__name__)

# About one message, and so about it again the next time.
REFUSALS = {
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.POLICY_VIOLATION,
    KafkaError.RECORD_LIST_TOO_LARGE,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_EXCEPTION,  # no name for a topic
}
NO_RIGHT = {
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
}
_NO_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC}
FENCED = {
    KafkaError._FENCED,
    KafkaError.INVALID_PRODUCER_EPOCH,
    KafkaError.PRODUCER_FENCED,
}


class ClientLog:
    """
    Where librdkafka logs. A client that cannot connect says so many times a
    second, and what is raised then says it too.
    """

    def log(self, level, text, facility, *rest):
        if facility in {"ERROR", "FAIL"}:
            level = logging.DEBUG
        logger.log(level, text, facility, *rest)


class Complaints:
    """Keeps what a client last said of its connections: it says why, later."""

    def __init__(self):
        self.last = ""

    def __call__(self, error):
        # That all brokers are down says least of all.
        if error.code() != KafkaError._ALL_BROKERS_DOWN or not self.last:
            self.last = error.str()


def refusal(error, topic, key):
    named = (key or b"").decode("utf-8", "backslashreplace")
    return Rejected(
        f"Kafka refuses a message for {topic} with key {named!r}: {error.str()}."
    )


def failure(servers, doing, error, complaints):
    """Return what an error means that says nothing about a message."""
    code, text = error.code(), error.str()
    if code == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED:
        return Unavailable(
            f"Kafka at {servers} did not let us {doing}: {text}. Grant WRITE and "
            "DESCRIBE on our transactional ids, or set "
            "OUTBOX_KAFKA_TRANSACTIONAL=false."
        )
    if code == KafkaError.TOPIC_EXCEPTION:
        return Rejected(f"Kafka at {servers} refused to {doing}: {text}.")
    if code in _NO_TOPIC:
        return Unavailable(
            f"Kafka at {servers} did not {doing}: {text}. Create the topic, or let "
            "a worker create it when it starts: grant CREATE."
        )
    because = f" The connection said: {complaints.last}." if complaints.last else ""
    return Unavailable(
        f"Kafka at {servers} did not {doing}: {text}.{because} Check "
        "the address, the security protocol and the network policy."
    )
