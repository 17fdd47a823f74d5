import logging
from contextlib import contextmanager

from django.core.management.commands import migrate
from django.db import connections

logger = logging.getLogger(__name__)

PATIENCE = 3600  # seconds for one statement, say an index of a large table


class Command(migrate.Command):
    """
    Django's own command, and the line in the log that the setup guide names.

    A statement may take its time here. A lock may not: others wait behind it.
    """

    def handle(self, *args, **options):
        with _patience(connections[options["database"]]):
            super().handle(*args, **options)
        is_partial = options["app_label"] or options["plan"]
        if not (is_partial or options["check_unapplied"]):
            logger.info("Database migrations: Update has been successful")


@contextmanager
def _patience(connection):
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = %s", [PATIENCE * 1000])
        connection.connection.answer_timeout = PATIENCE
    try:
        yield
    finally:
        if connection.is_usable():  # it goes back to the pool
            with connection.cursor() as cursor:
                cursor.execute("RESET statement_timeout")
                connection.connection.answer_timeout = None
