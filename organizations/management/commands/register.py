import json

from django.core.management.base import CommandError

from organizations import registration
from orgmanager.commands import OperationCommand, read_secret


class Command(OperationCommand):
    help = (
        "Register this installation: the organization, its realms and its first "
        "administrator. --dry-run tries all that it needs and changes nothing."
    )

    def add_arguments(self, parser):
        super().add_arguments(parser)
        parser.add_argument(
            "--token-file",
            required=True,
            help="File with the registration token; - for standard input.",
        )
        parser.add_argument("--email", required=True, help="Of the administrator.")
        parser.add_argument("--first-name", required=True)
        parser.add_argument("--last-name", required=True)
        parser.add_argument(
            "--password-file",
            help="File with the administrator's password; - for standard input. "
            "Without it, the command asks.",
        )
        parser.add_argument("--name", default="", help="Name of the organization.")
        parser.add_argument("--dry-run", action="store_true")
        parser.add_argument("--json", action="store_true", help="For programs.")

    def handle(self, *, dry_run, actor, name, **options):
        given = {
            "token": read_secret(options["token_file"], "token"),
            "password": read_secret(options["password_file"], "password"),
            "admin": {
                "email": options["email"],
                "first_name": options["first_name"],
                "last_name": options["last_name"],
            },
        }
        if dry_run:
            self._show_rehearsal(registration.rehearse(**given), options["json"])
        else:
            result = registration.register(**given, name=name, actor=actor)
            self._show(result, options["json"])

    def _show(self, result, as_json):
        organization = result.organization
        if as_json:
            report = {
                "id": str(organization.pk),
                "code": organization.code,
                "status": organization.status,
                "steps": registration.steps(result.registration),
            }
            self.stdout.write(json.dumps(report))
        elif result.is_done:
            self.stdout.write(
                self.style.SUCCESS(
                    f"Registered {organization.code} ({organization.pk})."
                )
            )
        else:
            self.stdout.write(
                "The registration is still running; the worker goes on with it. "
                "Watch it at GET /org/api/org/single."
            )

    def _show_rehearsal(self, report, as_json):
        if as_json:
            self.stdout.write(json.dumps(report))
        else:
            for check in report:
                state = "ok    " if check["ok"] else "FAILED"
                self.stdout.write(f"{state}  {check['check']}  {check['detail']}")
        if not all(check["ok"] for check in report):
            raise CommandError("Not everything is ready. Nothing was changed.")
