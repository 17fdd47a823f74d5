from organizations import operations
from orgmanager.commands import OperationCommand


class Command(OperationCommand):
    help = "Give a disabled user the roles again that they had."

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("user", help="Id of the user.")
        parser.add_argument("--reason", required=True, help="Kept in the history.")

    def handle(self, *, user, reason, actor, **options):
        operations.enable_user(user, actor=actor, reason=reason)
        self.stdout.write(self.style.SUCCESS(f"User {user} is enabled."))
