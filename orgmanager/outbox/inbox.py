"""Incoming messages: each is handled, or kept as rejected; none is lost."""

import logging

from ..broker import broker
from ..errors import DomainError, Unavailable
from .models import RejectedMessage

logger = logging.getLogger(__name__)

GROUP = "organization-manager"

# topic -> function(message); the apps register theirs when they are ready
HANDLERS = {}


def register(topic, handler):
    """
    Let ``handler`` deal with the messages of ``topic``.

    Raises: Unavailable or a database error, and the message comes again; any
    other DomainError keeps it as a RejectedMessage.
    """
    HANDLERS[topic] = handler


class Inbox:
    """Reads one topic; a message is committed only once it is dealt with."""

    def __init__(self, topic):
        self.topic = topic
        self._consumer = None

    def receive(self, timeout):
        """
        Deal with the next message; return whether there was one.

        Raises: Unavailable; the same message then comes again.
        """
        try:
            if self._consumer is None:
                self._consumer = broker.consumer(self.topic, group=GROUP)
            message = self._consumer.poll(timeout)
            if message is None:
                return False
            self._handle(message)
            self._consumer.commit(message)
        except Exception:
            self.close()  # a new consumer begins again at the last commit
            raise
        return True

    def close(self):
        """Leave the group; the next call joins it again."""
        if self._consumer is not None:
            self._consumer.close()
            self._consumer = None

    def _handle(self, message):
        try:
            HANDLERS[message.topic](message)
        except Unavailable:
            raise
        except DomainError as error:
            logger.error(
                "Message %s/%s@%s was rejected: %s",
                message.topic,
                message.partition,
                message.offset,
                error,
            )
            RejectedMessage.objects.get_or_create(
                topic=message.topic,
                partition=message.partition,
                offset=message.offset,
                defaults={
                    "key": message.key or b"",
                    "value": message.value or b"",
                    "error": str(error),
                },
            )
