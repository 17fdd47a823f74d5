"""What a broker can do."""

from typing import NamedTuple


class Message(NamedTuple):
    """A message to publish. Shapes: ``headers`` {str: str}."""

    topic: str
    key: bytes
    value: bytes
    headers: dict


class ReceivedMessage(NamedTuple):
    """A message as it was read. Shapes: ``headers`` {str: bytes}."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: dict


class BaseBroker:
    """
    Interface of a message broker.

    Raises: Unavailable when it is not known whether a call took effect and
    trying again is right; Rejected when the broker will never take it.
    """

    def publisher(self, shard):
        """
        Return the publisher of ``shard``; an older one of that shard is fenced.

        A fenced publisher that wakes up can publish nothing more.
        """
        raise NotImplementedError

    def consumer(self, topic, *, group):
        """Return a consumer that goes on where ``group`` last committed."""
        raise NotImplementedError

    def ensure_topic(self, topic):
        """Create ``topic`` unless it exists."""
        raise NotImplementedError

    def check_publish(self, topic):
        """
        Return None if ``topic`` could be published to; publish nothing.

        Raises: Rejected, saying which right is missing.
        """
        raise NotImplementedError

    def largest_message(self, topic):
        """Return how many bytes a value on ``topic`` may have."""
        raise NotImplementedError

    def ping(self):
        """Return None if the broker answers; raise Unavailable otherwise."""
        raise NotImplementedError


class BasePublisher:
    """Publishes batches for one shard."""

    def publish(self, messages):
        """
        Publish ``messages`` in order; return once all of them are durable.

        Raises: Unavailable, after which any part of the batch may be in the log
        and the publisher must be closed; Rejected, naming what was refused,
        after which none of the batch is visible.
        """
        raise NotImplementedError

    def close(self):
        """Let go of the connection. Closing twice is harmless."""
        raise NotImplementedError


class BaseConsumer:
    """Reads one topic for one group."""

    def poll(self, timeout):
        """Return the next message, or None after ``timeout`` seconds."""
        raise NotImplementedError

    def commit(self, message):
        """Remember that everything up to ``message`` is dealt with."""
        raise NotImplementedError

    def close(self):
        """Leave the group. Closing twice is harmless."""
        raise NotImplementedError
