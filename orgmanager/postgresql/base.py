"""The backend itself: Django looks for it in a module of this name."""

import psycopg
from django.db import DEFAULT_DB_ALIAS
from django.db.backends.postgresql import base

from ..breaker import Breaker
from .connection import Connection

FAILURES = 1  # it stands for a whole timeout of the pool, with several tries
PAUSE = 1  # seconds
PATIENCE = 10  # seconds that one try may take; the pool's timeout is much less

_breakers = {}  # alias: Breaker, as Django keeps the pools


class DatabaseWrapper(base.DatabaseWrapper):
    """
    Leaves a database alone whose pool has no connection that works.

    Else every thread waits for the pool's timeout, and none is left for what needs
    no database. Connections that come from no pool are not held back.
    """

    def __init__(self, settings_dict, alias=DEFAULT_DB_ALIAS):
        super().__init__(settings_dict, alias)
        if pool := self.settings_dict["OPTIONS"].get("pool"):
            pool.setdefault("connection_class", Connection)

    def get_new_connection(self, conn_params):
        if not self.pool:
            return super().get_new_connection(conn_params)
        breaker = _breakers.get(self.alias) or _breakers.setdefault(
            self.alias,
            Breaker("PostgreSQL", failures=FAILURES, pause=PAUSE, patience=PATIENCE),
        )
        down = psycopg.OperationalError
        with breaker.asking(silence=down, refusal=down):
            return super().get_new_connection(conn_params)
