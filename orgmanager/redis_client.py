"""
Redis, left alone while it does not answer.

A cache that hangs costs every request its timeout, several times over; so after
some failures nobody waits for it, until one try shows that it is back.
"""

import time

from redis import ConnectionPool, Redis
from redis.exceptions import ConnectionError, RedisError, TimeoutError

from .breaker import Breaker

FAILURES = 5  # in a row
PAUSE = 10  # seconds


class Pool(ConnectionPool):
    """
    The connections of a process to one Redis, and whether it answers.

    Units: ``clock`` counts seconds.
    """

    def __init__(self, *args, clock=time.monotonic, **options):
        super().__init__(*args, **options)
        self.breaker = Breaker("Redis", failures=FAILURES, pause=PAUSE, clock=clock)


class Client(Redis):
    """
    A client that asks only while its pool's breaker lets it.

    Commands in a pipeline pass the breaker by; nothing here sends any.
    """

    def execute_command(self, *args, **options):
        with self.connection_pool.breaker.asking(
            silence=(ConnectionError, TimeoutError),
            answers=RedisError,
            refusal=ConnectionError,
        ):
            return super().execute_command(*args, **options)
