from orgmanager.commands import OperationCommand, read_secret
from orgmanager.operators import operations


class Command(OperationCommand):
    help = (
        "Create a local operator, who can sign in to the console even when the "
        "identity provider is down. Asks for the password, or reads it from "
        "--password-file (- for standard input)."
    )

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument("username", help="Name to sign in with, e.g. olga.")
        parser.add_argument(
            "--password-file",
            help="File whose first line is the password; - for standard input.",
        )

    def handle(self, *, username, password_file, actor, **options):
        password = read_secret(password_file, "password")
        operations.create(username=username, password=password, actor=actor)
        self.stdout.write(self.style.SUCCESS(f"Operator {username} can sign in."))
