"""
A connection that does not wait for ever.

PostgreSQL's own limits are kept by the server, so they say nothing of one that is
frozen or cut off: its kernel keeps the connection, and nobody answers.
"""

import time

import psycopg
from django.conf import settings

CHECK_TIMEOUT = 1.0  # seconds for the empty query of a pool that looks whether it works


class Connection(psycopg.Connection):
    """
    Gives up, and closes itself, when there is no answer.

    That is after settings.DATABASE_ANSWER_TIMEOUT, in seconds: a little later than
    the server's own limit of a statement. Who raises that limit raises both, for
    one connection by ``answer_timeout``.
    """

    answer_timeout = None  # seconds, where it is another than the setting's
    _limit = None  # seconds, while something is done that has its own

    def execute(self, query, *args, **options):
        if query != "":
            return super().execute(query, *args, **options)
        self._limit = CHECK_TIMEOUT
        try:
            return super().execute(query, *args, **options)
        finally:
            self._limit = None

    def wait(self, gen, *args, timeout=None, **options):
        if timeout is not None:  # the caller's own, say of notifies()
            return super().wait(gen, *args, timeout=timeout, **options)
        limit = self._limit or self.answer_timeout or settings.DATABASE_ANSWER_TIMEOUT
        deadline = time.monotonic() + limit
        try:
            return super().wait(gen, *args, timeout=limit, **options)
        except psycopg.OperationalError as error:
            if time.monotonic() < deadline:
                raise
            self.close()  # in the middle of an exchange: of no use to anybody
            raise psycopg.OperationalError(
                f"PostgreSQL did not answer within {limit:g} s."
            ) from error
