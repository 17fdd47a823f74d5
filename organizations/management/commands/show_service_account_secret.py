import logging
import os

from django.conf import settings
from django.core.management.base import CommandError

from orgmanager.commands import OperationCommand
from orgmanager.identity import identity

logger = logging.getLogger(__name__)


class Command(OperationCommand):
    help = (
        "Write the secret of a service-account client to a file that only you can "
        "read. It is never printed."
    )

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("client", help="Client id, e.g. flowx-license-sa.")
        parser.add_argument("--output-file", required=True, help="Must not exist.")

    def handle(self, *, client, output_file, actor, **options):
        secret = identity.client_secret(settings.SERVICE_ACCOUNT_REALM, client)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        try:
            with os.fdopen(os.open(output_file, flags, 0o600), "w") as file:
                file.write(secret)
        except OSError as error:
            raise CommandError(
                f"{output_file} cannot be written: {error}. Name a file that does "
                "not exist, in a folder of yours."
            ) from error
        logger.warning("The secret of %s was handed out to %s.", client, actor)
        self.stdout.write(self.style.SUCCESS(f"The secret is in {output_file}."))
