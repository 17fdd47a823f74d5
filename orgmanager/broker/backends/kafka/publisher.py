"""Publishing to Kafka, for one shard."""

import time
from collections import defaultdict
from contextlib import contextmanager

from confluent_kafka import KafkaError, KafkaException, Producer

from ....errors import Rejected, Unavailable
from ..base import BasePublisher
from .failures import FENCED, REFUSALS, ClientLog, Complaints, failure, refusal

# What a record takes besides its value: key, headers, lengths and checksums.
RECORD_OVERHEAD = 65536  # bytes

_SLICE = 0.05  # seconds; how soon a refusal or a deadline is seen


class Publisher(BasePublisher):
    """
    One producer; with a transactional id, the only one that can write under it.

    After Unavailable it is closed for good: a producer that is not sure of what
    became of a batch could still send it, after its successor began.
    """

    def __init__(self, config, *, transactional_id, max_bytes, timeout):
        self._servers = config["bootstrap.servers"]
        self._timeout = timeout
        self._is_transactional = transactional_id is not None
        self._complaints = Complaints()
        limit = max_bytes + RECORD_OVERHEAD
        config = config | {
            "error_cb": self._complaints,
            "enable.idempotence": True,
            "acks": "all",
            "message.max.bytes": limit,
            "queue.buffering.max.kbytes": max(65536, limit // 1024 + 1),
            "queue.buffering.max.messages": 10000,
            "linger.ms": 5,
            "compression.type": "zstd",
            "partitioner": "murmur2_random",  # Java's own
            # How long a topic may be unknown, should it have been made just now.
            "topic.metadata.propagation.max.ms": 5000,
        }
        if self._is_transactional:
            config["transactional.id"] = transactional_id
            config["transaction.timeout.ms"] = 60000
        else:
            config["message.timeout.ms"] = 15000
        self._producer = Producer(config, logger=ClientLog())
        if self._is_transactional:
            with self._dropped_on_failure(f"take over {transactional_id}"):
                self._producer.init_transactions(timeout)

    def publish(self, messages):
        messages = list(messages)
        if not messages:
            return
        if self._producer is None:
            raise Unavailable("This publisher is closed. Make a new one.")
        topics = ", ".join(sorted({message.topic for message in messages}))
        with self._dropped_on_failure(f"publish to {topics}"):
            if self._is_transactional:
                self._publish_in_transaction(messages)
            else:
                for wave in _waves(messages):
                    self._send(wave)
        self._complaints.last = ""

    def close(self):
        if self._producer is None:
            return
        # Not close() of the producer, which sends what is left first, however
        # long that takes: what is left must not be sent any more.
        self._producer.purge(blocking=False)
        self._producer = None

    def _publish_in_transaction(self, messages):
        self._producer.begin_transaction()
        try:
            self._send(messages)
        except Rejected:
            self._producer.abort_transaction(self._timeout)
            raise
        self._producer.commit_transaction(self._timeout)

    def _send(self, messages):
        """
        Send ``messages`` and wait for the broker's word on each.

        Raises: Rejected as soon as one is refused; KafkaException.
        """
        deadline = time.monotonic() + self._timeout
        failures = []

        def report(error, message):
            if error is not None:
                failures.append((error, message.topic(), message.key()))

        for message in messages:
            self._enqueue(message, report, deadline)
        # In slices: once a message is refused those behind it in the transaction
        # are not sent, and waiting for them would last until the deadline.
        while self._producer.flush(_SLICE) and not failures:
            if time.monotonic() > deadline:
                raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
        for error, topic, key in failures:
            if error.code() in REFUSALS:
                raise refusal(error, topic, key)
        if failures:
            raise KafkaException(failures[0][0])

    def _enqueue(self, message, report, deadline):
        while True:
            try:
                self._producer.produce(
                    message.topic,
                    key=message.key,
                    value=message.value,
                    headers=message.headers,
                    on_delivery=report,
                )
                return
            except BufferError as error:
                if time.monotonic() > deadline:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT)) from error
                self._producer.poll(_SLICE)
            except KafkaException as error:
                if error.args[0].code() in REFUSALS:
                    raise refusal(error.args[0], message.topic, message.key) from error
                raise

    @contextmanager
    def _dropped_on_failure(self, doing):
        try:
            yield
        except KafkaException as error:
            self.close()
            reason = error.args[0]
            if reason.code() in FENCED:
                raise Unavailable(
                    f"Kafka did not let us {doing}: another publisher of the same "
                    "shard has taken over."
                ) from error
            raise failure(self._servers, doing, reason, self._complaints) from error


def _waves(messages):
    """
    Return ``messages`` in groups of which none has a key twice.

    Sent one after the other, a refused message holds back those behind it.
    """
    waves, seen = [], defaultdict(int)
    for message in messages:
        place = seen[message.topic, message.key]
        seen[message.topic, message.key] += 1
        if place == len(waves):
            waves.append([])
        waves[place].append(message)
    return waves
