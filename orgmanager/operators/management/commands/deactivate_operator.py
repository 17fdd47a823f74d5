from orgmanager.commands import OperationCommand
from orgmanager.operators import operations


class Command(OperationCommand):
    help = "Sign an operator out of the console and let them in no more."

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("username", help="As list_operators shows it.")

    def handle(self, *, username, actor, **options):
        operator = operations.find(username)
        operations.deactivate(operator.pk, actor=actor)
        self.stdout.write(self.style.SUCCESS(f"{operator} may not sign in any more."))
