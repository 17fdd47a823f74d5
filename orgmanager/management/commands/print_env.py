from itertools import groupby

from django.core.management.base import BaseCommand

from orgmanager.settings import env


class Command(BaseCommand):
    help = "Print every environment variable: name, default, meaning, what is set."
    requires_system_checks = []  # the table is wanted most when something is wrong

    def add_arguments(self, parser):
        parser.add_argument(
            "--format",
            choices=["text", "markdown"],
            default="text",
            help="markdown writes what deploy/env.md holds. Default: %(default)s.",
        )

    def handle(self, *, format, **options):
        render = {"text": render_text, "markdown": render_markdown}[format]
        self.stdout.write(render(env.variables), ending="")


def by_section(variables):
    """Return the variables under their titles, both in the order of settings.py."""
    titles = list(dict.fromkeys(variable.section for variable in variables))
    ordered = sorted(variables, key=lambda variable: titles.index(variable.section))
    return groupby(ordered, key=lambda variable: variable.section)


def render_text(variables):
    """Return the table for a terminal; it shows where values come from, never one."""
    lines = []
    for title, rows in by_section(variables):
        lines += ["", title, "-" * len(title)]
        for row in rows:
            lines.append(row.names[0])
            if row.names[1:]:
                lines.append(f"    also: {', '.join(row.names[1:])}")
            if row.is_secret:
                lines.append("    secret: may come from the file in NAME_FILE")
            if row.unit:
                lines.append(f"    unit: {row.unit}")
            if row.default:
                lines.append(f"    default: {row.default}")
            lines.append(
                f"    value: {row.source and f'from {row.source}' or 'default'}"
            )
            lines.append(f"    {row.help}")
    return "\n".join(lines[1:]) + "\n"


def render_markdown(variables):
    """Return the same as markdown, without what depends on this machine."""
    lines = [
        "# Environment variables",
        "",
        "Written by `manage.py print_env --format markdown`; edit settings.py.",
        "",
        "Of several names the first is the one to use, the others are aliases; the",
        "first that is set wins, and an empty value counts as not set. A secret may",
        "come as `NAME_FILE`, the path of a file that holds it. `${NAME}` and",
        "`${NAME:default}` inside a value are resolved. Durations have a unit",
        "(`250ms`, `5s`, `2m`, `1h`, `7d`); in sizes (`50MB`) 1 MB is 1024 KB.",
        "",
    ]
    for title, rows in by_section(variables):
        lines += [f"## {title}", "", "| Variable | Default | Unit | Meaning |"]
        lines += ["|---|---|---|---|"]
        for row in rows:
            names = "<br>".join(f"`{name}`" for name in row.names)
            unit = f"{row.unit}, secret".lstrip(", ") if row.is_secret else row.unit
            cells = [names, row.default and f"`{row.default}`", unit, row.help]
            lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
        lines.append("")
    return "\n".join(lines[:-1]) + "\n"
