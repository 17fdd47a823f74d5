from orgmanager.commands import OperationCommand
from orgmanager.operators import operations


class Command(OperationCommand):
    help = "Let a deactivated operator sign in again."

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("username", help="As list_operators shows it.")

    def handle(self, *, username, actor, **options):
        operator = operations.find(username)
        operations.activate(operator.pk, actor=actor)
        self.stdout.write(self.style.SUCCESS(f"{operator} may sign in."))
