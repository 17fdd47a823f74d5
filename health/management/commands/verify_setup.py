import json

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from health.verification import FAILED, OK, verify


class Command(BaseCommand):
    help = (
        "Check the setup as its guide says, point by point: database, SpiceDB, Kafka, "
        "Keycloak and the service itself. Exit code 1 if anything failed."
    )
    requires_system_checks = []  # it says itself what is wrong

    def add_arguments(self, parser):
        parser.add_argument(
            "--url",
            default=_own_address(),
            help="Where this service answers; empty to leave it out. "
            "Default: %(default)s.",
        )
        parser.add_argument(
            "--json", action="store_true", dest="as_json", help="Print JSON alone."
        )

    def handle(self, *, url, as_json, **options):
        outcomes = []
        for outcome in verify(url.rstrip("/")):
            outcomes.append(outcome)
            if not as_json:
                self.show(outcome)
        failed = sum(outcome.status == FAILED for outcome in outcomes)
        if as_json:
            self.stdout.write(_as_json(outcomes, failed))
        if failed:
            raise CommandError(f"{failed} of {len(outcomes)} checks failed.")

    def show(self, outcome):
        styles = {OK: self.style.SUCCESS, FAILED: self.style.ERROR}
        style = styles.get(outcome.status, self.style.WARNING)
        self.stdout.write(f"{style(f'{outcome.status:<8}')} {outcome.title}")
        self.stdout.write(f"         {outcome.reason}")
        if outcome.next_step:
            self.stdout.write(f"         Next: {outcome.next_step}")
        self.stdout.flush()


def _own_address():
    """Return where this service is reached from where this command runs."""
    if settings.PRODUCTION:
        return settings.SELF_BASE_URL
    return f"http://127.0.0.1:{settings.PORT}"


def _as_json(outcomes, failed):
    checks = [
        {
            "name": outcome.name,
            "title": outcome.title,
            "status": outcome.status,
            "reason": outcome.reason,
            "nextStep": outcome.next_step,
        }
        for outcome in outcomes
    ]
    body = {"status": FAILED if failed else OK, "checks": checks}
    return json.dumps(body, indent=2, ensure_ascii=False)
