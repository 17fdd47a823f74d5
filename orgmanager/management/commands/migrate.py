import logging

from django.core.management.commands import migrate

logger = logging.getLogger(__name__)


class Command(migrate.Command):
    """Django's own command, and the line in the log that the setup guide names."""

    def handle(self, *args, **options):
        super().handle(*args, **options)
        is_partial = options["app_label"] or options["plan"]
        if not (is_partial or options["check_unapplied"]):
            logger.info("Database migrations: Update has been successful")
