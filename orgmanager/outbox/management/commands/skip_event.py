from orgmanager.commands import OperationCommand
from orgmanager.outbox import operations


class Command(OperationCommand):
    help = (
        "Give up the event that the broker refuses. A tombstone with the same "
        "number is published in its place, so that consumers see no gap."
    )

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("event", help="Id of the event.")
        parser.add_argument("--reason", required=True, help="Kept in the history.")

    def handle(self, *, event, reason, actor, **options):
        operations.skip_event(event, actor=actor, reason=reason)
        self.stdout.write(self.style.SUCCESS(f"Event {event} is skipped."))
