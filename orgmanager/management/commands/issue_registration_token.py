import secrets
import uuid

from django.core.management.base import BaseCommand, CommandError

from orgmanager.licence_server import licence_server


class Command(BaseCommand):
    help = (
        "Print a registration token of the local licence issuer, and nothing else. "
        "Only where no real licence server is set."
    )

    def add_arguments(self, parser):
        parser.add_argument("--org-id", type=uuid.UUID, help="Default: a new one.")
        parser.add_argument("--org-code", help="Short name, e.g. acme.")
        parser.add_argument("--org-name", default="", help="Name for people.")

    def handle(self, *, org_id, org_code, org_name, **options):
        try:
            issue = licence_server.issue_registration_token
        except AttributeError as error:
            raise CommandError(
                "A real licence server is set, and only that one issues tokens. Ask "
                "for one where you got your licence."
            ) from error
        token = issue(
            org_id=org_id or uuid.uuid4(),
            org_code=org_code or f"org-{secrets.token_hex(3)}",
            org_name=org_name,
        )
        licence_server.validate_registration(token)
        self.stdout.write(token)
