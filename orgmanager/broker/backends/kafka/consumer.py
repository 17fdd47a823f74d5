"""Reading from Kafka, as a member of a group."""

import threading
import time
from collections import deque
from contextlib import contextmanager

from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from ....errors import Unavailable
from ..base import BaseConsumer, ReceivedMessage
from .failures import ClientLog, Complaints, failure
from .publisher import RECORD_OVERHEAD

_SLICE = 0.01  # seconds; how soon a deadline is seen
_INT_MAX = 2**31 - 1  # librdkafka takes no more


class Consumer(BaseConsumer):
    """A member of a group; what it was given and did not commit comes again."""

    def __init__(self, config, topic, *, group, max_bytes, timeout):
        self._servers = config["bootstrap.servers"]
        self._topic = topic
        self._timeout = timeout
        self._complaints = Complaints()
        self._commits = deque()
        self._ahead = deque()
        limit = max_bytes + RECORD_OVERHEAD
        config = config | {
            "error_cb": self._complaints,
            "on_commit": lambda error, partitions: self._commits.append(
                (error, partitions)
            ),
            "group.id": group,
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "session.timeout.ms": 10000,
            "max.poll.interval.ms": 300000,
            "message.max.bytes": limit,
            "fetch.max.bytes": limit,
            # It also caps the buffer to decompress in, which begins at twice the
            # compressed size and grows by three quarters until all fits.
            "receive.message.max.bytes": min(2 * limit + RECORD_OVERHEAD, _INT_MAX),
        }
        self._consumer = KafkaConsumer(config, logger=ClientLog())
        self._consumer.subscribe([topic])

    def poll(self, timeout):
        if self._ahead:
            return self._ahead.popleft()
        return self._read(timeout)

    def commit(self, message):
        place = TopicPartition(message.topic, message.partition, message.offset + 1)
        self._commits.clear()
        with self._translated("commit"):
            # Not asynchronous=False, which waits for as long as Kafka is silent.
            self._consumer.commit(offsets=[place], asynchronous=True)
            deadline = time.monotonic() + self._timeout
            while not self._commits:
                if time.monotonic() > deadline:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT))
                if (ahead := self._read(_SLICE)) is not None:
                    self._ahead.append(ahead)
            error, partitions = self._commits.popleft()
            errors = [error, *(each.error for each in partitions)]
            if refused := [error for error in errors if error is not None]:
                raise KafkaException(refused[0])

    def close(self):
        if self._consumer is None:
            return
        consumer, self._consumer = self._consumer, None
        # Leaving lasts as long as Kafka is silent; the group forgets us then.
        leaving = threading.Thread(target=consumer.close, daemon=True)
        leaving.start()
        leaving.join(self._timeout)

    def _read(self, timeout):
        with self._translated("read"):
            message = self._consumer.poll(timeout)
            if message is None:
                return None
            if message.error() is not None:
                raise KafkaException(message.error())
        return ReceivedMessage(
            topic=message.topic(),
            partition=message.partition(),
            offset=message.offset(),
            key=message.key() or b"",
            value=message.value() or b"",
            headers={name: value or b"" for name, value in message.headers() or ()},
        )

    @contextmanager
    def _translated(self, doing):
        if self._consumer is None:
            raise Unavailable("This consumer is closed. Make a new one.")
        try:
            yield
        except KafkaException as error:
            doing = f"{doing} topic {self._topic}"
            reason = error.args[0]
            raise failure(self._servers, doing, reason, self._complaints) from error
