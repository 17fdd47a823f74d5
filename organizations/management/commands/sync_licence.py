from datetime import UTC, datetime, time

from django.core.management.base import CommandError
from django.utils import timezone

from organizations import operations
from organizations.models import Organization
from orgmanager.commands import OperationCommand, read_secret
from orgmanager.licence_server import licence_server
from orgmanager.licence_server.backends.base import LicenceClaims


class Command(OperationCommand):
    help = (
        "Take over a licence: from a file that the licence server signed, for sites "
        "without network; or, with the local licence issuer only, from --plan and "
        "--valid-to."
    )

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--organization", required=True, help="Its code.")
        parser.add_argument("--licence-file", help="Signed licence; - for stdin.")
        parser.add_argument("--plan", help="Local issuer only: name of the plan.")
        parser.add_argument("--valid-to", help="Local issuer only: YYYY-MM-DD.")

    def handle(self, *, organization, actor, **options):
        organization = Organization.objects.by_code(organization)
        licence = licence_server.read_licence(self._token(organization, **options))
        row, changed = operations.sync_licence(
            organization.pk, licence, source="manage.py", actor=actor
        )
        said = "synced" if changed else "unchanged; a newer or equal one stands"
        self.stdout.write(self.style.SUCCESS(f"Licence of {organization.code}: {said}"))
        self.stdout.write(f"{row.plan}, valid to {row.valid_to:%Y-%m-%d}")

    def _token(self, organization, *, licence_file, plan, valid_to, **options):
        if licence_file:
            return read_secret(licence_file, "licence")
        if not (plan and valid_to):
            raise CommandError("Give --licence-file, or --plan and --valid-to.")
        if not hasattr(licence_server, "issue_licence"):
            raise CommandError(
                "A real licence server is set, so only a licence that it signed is "
                "taken: give --licence-file."
            )
        now = timezone.now()
        return licence_server.issue_licence(
            LicenceClaims(
                organization_id=str(organization.pk),
                plan=plan,
                valid_from=now,
                valid_to=_end_of(valid_to),
                limits={},
                features=[],
                issued_at=now,
            )
        )


def _end_of(day):
    try:
        return datetime.combine(datetime.strptime(day, "%Y-%m-%d"), time.max, UTC)
    except ValueError as error:
        raise CommandError(
            f"--valid-to {day!r} is no date. Write it like 2027-12-31."
        ) from error
