from django.core.management.base import BaseCommand

from orgmanager.operators.models import Operator


class Command(BaseCommand):
    help = (
        "List who may sign in to the console: user name, person, how they sign in, "
        "whether they may, and when they last did."
    )

    def handle(self, **options):
        rows = [
            (
                operator.username,
                str(operator) if operator.issuer else "-",
                operator.issuer or "password",
                "active" if operator.is_active else "deactivated",
                f"{operator.last_login:%Y-%m-%d %H:%M}" if operator.last_login else "-",
            )
            for operator in Operator.objects.order_by("issuer", "username")
        ]
        if not rows:
            self.stdout.write("No operators yet: manage.py create_operator NAME")
            return
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            cells = [text.ljust(width) for text, width in zip(row, widths, strict=True)]
            self.stdout.write("  ".join(cells).rstrip())
