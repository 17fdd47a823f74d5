from orgmanager.commands import OperationCommand
from orgmanager.operators import operations


class Command(OperationCommand):
    help = "Create an operator with a made-up password if there is none yet."

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("--username", default="operator")

    def handle(self, *, username, actor, **options):
        password = operations.ensure_first(username=username, actor=actor)
        if password is None:
            self.stdout.write(
                "Sign in as an operator you made before; one more: "
                "manage.py create_operator NAME"
            )
            return
        self.stdout.write(f"Sign in as   {username}")
        self.stdout.write(f"Password     {password}   (shown this once)")
