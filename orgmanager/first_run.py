"""
What anybody sees at the root: how to get from a new installation to one that works.

Part of the composition root, like urls.py: it may know every app.
"""

from django.conf import settings
from django.contrib import admin
from django.http import HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from organizations import registration, status
from organizations.admin import STEP_COLOURS, STEP_TEXTS
from organizations.models import Registration

from .licence_server import licence_server

SYNC_LICENCE = _("Sync the licence")
PASTE = "printf 'Token: '; read -rs TOKEN; echo"


@never_cache
@require_safe
def show(request):
    """Say how to register while nothing is registered; then be out of the way."""
    if status.environment()["status"] != status.MISSING_ORGANIZATION:
        return HttpResponseRedirect(reverse("admin:index"))
    running = Registration.objects.filter(state=Registration.State.RUNNING).first()
    context = {
        **admin.site.each_context(request),
        "title": _("First steps"),
        "steps": first_steps(),
        "progress": progress(running),
    }
    return render(request, "first_run.html", context)


def progress(running):
    """
    Return how far each step of a registration is, for anybody to see.

    Errors are left out: they name addresses of other systems.

    Shapes: [{"title", "text", "colour"}], or [] when none is running.
    """
    if running is None:
        return []
    return [
        {
            "title": step["title"],
            "text": STEP_TEXTS[step["state"]],
            "colour": STEP_COLOURS[step["state"]],
        }
        for step in registration.steps(running)
    ]


def first_steps():
    """
    Return what to do from a new installation to one that works.

    Shapes: [{"title", "text", "command"}].
    """
    return [
        {"title": _("Get a registration token"), **_token_step()},
        {
            "title": _("Register the organization and its first administrator"),
            "text": _(
                "Put in your own e-mail address and name. The first line asks for the "
                "administrator's password. Designer has a form that does the same."
            ),
            "command": "\n".join(
                [
                    "printf 'Password: '; read -rs PASSWORD; echo",
                    f"curl -sS {settings.PUBLIC_BASE_URL}/org/api/org/single \\",
                    "  -H 'Content-Type: application/json' -d @- <<END",
                    '{"token": "$TOKEN",',
                    ' "admin": {"email": "ada@example.com", "firstName": "Ada",',
                    '           "lastName": "Example", "password": "$PASSWORD"}}',
                    "END",
                ]
            ),
        },
        {"title": SYNC_LICENCE, **licence_step("acme" if can_issue() else "CODE")},
    ]


def _token_step():
    if ".backends.unset." in settings.LICENCE_SERVER["BACKEND"]:
        return {
            "text": _(
                "No licence server is set, so nothing can be registered yet. Set "
                "LICENSE_SERVER_URL and start this service again. Then paste the token "
                "that you got with your licence."
            ),
            "command": PASTE,
        }
    if can_issue():
        return {
            "text": _(
                "To try things out, this installation issues its own. In production "
                "you get one with your licence."
            ),
            "command": f"TOKEN=$({_manage()} issue_registration_token "
            "--org-code acme --org-name Acme)",
        }
    return {
        "text": _("You got one with your licence. This asks for it, to use it below."),
        "command": PASTE,
    }


def licence_step(code):
    """
    Return how an organization gets its licence.

    Shapes: {"text", "command"}.
    """
    command = f"{_manage()} sync_licence --organization {code}"
    if can_issue():
        year = timezone.now().year + 1
        return {
            "text": _("To try things out, this installation issues its own."),
            "command": f"{command} --plan trial --valid-to {year}-12-31",
        }
    return {
        "text": _(
            "The licence server sends it by itself, soon after the registration. On a "
            "site without network, take it over from a file."
        ),
        "command": f"{command} --licence-file licence.jwt",
    }


def can_issue():
    """Say whether the licence server is the local one, which anybody may use."""
    return hasattr(licence_server, "issue_registration_token")


def _manage():
    python = "python" if settings.PRODUCTION else ".venv/bin/python"
    return f"{python} manage.py"
