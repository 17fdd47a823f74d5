"""The base of every command that calls an operation."""

import getpass
import sys
from pathlib import Path

from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.management.base import BaseCommand, CommandError

from .errors import DomainError


class OperationCommand(BaseCommand):
    """A command that calls one operation: a refusal is one line, exit code 1."""

    def add_arguments(self, parser):
        parser.add_argument(
            "--actor",
            default=f"manage.py:{_login_name()}",
            help="Who is doing this; kept in the history. Default: %(default)s.",
        )

    def execute(self, *args, **options):
        try:
            return super().execute(*args, **options)
        except DomainError as error:
            lines = [str(error)]
            lines += [f"  {e['pointer']}: {e['detail']}" for e in error.errors]
            raise CommandError("\n".join(lines)) from error
        except ObjectDoesNotExist as error:
            raise CommandError(str(error)) from error
        except ValidationError as error:
            raise CommandError(_sentences(error)) from error


def _sentences(error):
    if not hasattr(error, "error_dict"):
        return " ".join(error.messages)
    return " ".join(
        f"{field}: {' '.join(messages)}"
        for field, messages in error.message_dict.items()
    )


def _login_name():
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return "unknown"


def read_secret(path, what):
    """
    Return the first line of ``path``, of standard input (-), or of a prompt.

    Never an argument's value: those are visible in the list of processes.

    Raises: CommandError.
    """
    if path == "-":
        return sys.stdin.readline().rstrip("\r\n")
    if path:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"The {what} file cannot be read: {error}") from error
        return text.split("\n", 1)[0].rstrip("\r")
    if not sys.stdin.isatty():
        raise CommandError(
            f"There is no terminal to ask for the {what}: give --{what}-file."
        )
    secret = getpass.getpass(f"{what.capitalize()}: ")
    if secret != getpass.getpass(f"{what.capitalize()}, again: "):
        raise CommandError(f"The two entries of the {what} differ. Try again.")
    return secret
