from organizations import operations
from orgmanager.commands import OperationCommand


class Command(OperationCommand):
    help = "Take from a user everything they may do, until they are enabled again."

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("user", help="Id of the user.")
        parser.add_argument("--reason", required=True, help="Kept in the history.")

    def handle(self, *, user, reason, actor, **options):
        operations.disable_user(user, actor=actor, reason=reason)
        self.stdout.write(self.style.SUCCESS(f"User {user} is disabled."))
