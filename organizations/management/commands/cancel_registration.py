import time

from organizations import operations
from orgmanager.commands import OperationCommand
from orgmanager.outbox import work


class Command(OperationCommand):
    help = (
        "Give up the running registration: what it made in other systems is "
        "removed, and a new token can be used."
    )

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument(
            "--confirm", required=True, help="Code of the organization, to be sure."
        )

    def handle(self, *, confirm, actor, **options):
        organization = operations.cancel_registration(confirm=confirm, actor=actor)
        if work.run_for(organization.pk, deadline=time.monotonic() + 20):
            text = f"The registration of {confirm} is cancelled; nothing is left of it."
        else:
            text = (
                f"The registration of {confirm} is cancelled; the worker goes on "
                "removing what it had made."
            )
        self.stdout.write(self.style.SUCCESS(text))
