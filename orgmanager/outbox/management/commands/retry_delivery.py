from orgmanager.commands import OperationCommand
from orgmanager.outbox import operations


class Command(OperationCommand):
    help = "Set a blocked stream going again, from the event that was refused on."

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("event", help="Id of an event of that stream.")

    def handle(self, *, event, actor, **options):
        operations.retry_delivery(event, actor=actor)
        self.stdout.write(self.style.SUCCESS("The stream is delivered again."))
