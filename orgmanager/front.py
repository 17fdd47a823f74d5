"""
The console's front page and menu: what is wrong, what comes next, and where.

Part of the composition root, like urls.py: it may know every app.
"""

import re
from datetime import timedelta

from django.conf import settings
from django.db.models import Count, Q
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.timesince import timesince
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from health import probes
from organizations import status
from organizations.access import USABLE
from organizations.admin import SOON, steps_section
from organizations.models import Licence, Organization, Registration, User

from .console import list_url
from .first_run import SYNC_LICENCE, first_steps, licence_step
from .operators.models import Operator
from .outbox.models import Delivery, Event, RejectedMessage, Stream, WorkOrder
from .outbox.relay import lag

HEALTH_COLOURS = {
    "UP": "success",
    "DEGRADED": "warning",
    "AFFECTED": "warning",
    "UNKNOWN": "",
    "DOWN": "danger",
}
LATE = timedelta(seconds=60)  # nothing that is due waits so long for a worker
SHOWN = 10  # licences that the front page warns of


def dashboard(request, context):
    """Add to ``context`` what the front page shows; called by Unfold."""
    owed, work = lag(), count_work()
    context.update(
        {
            "title": _("Front page"),
            "installation": installation(is_stopped=bool(work["parked"])),
            "troubles": [*queue_troubles(owed, work), *licence_troubles()],
            "owed": owed | {"age": _age(owed["oldest_at"])},
            "work": work,
            "urls": {
                "owed": list_url(Delivery),
                "streams": list_url(Stream),
                "blocked": list_url(Stream, state="blocked"),
                "due": list_url(WorkOrder, state="due"),
                "parked": list_url(WorkOrder, state="parked"),
                "history": list_url(Event),
            },
        }
    )
    return context


def installation(*, is_stopped):
    """
    Return what this installation is, and what comes next.

    ``is_stopped`` says that a work order is parked: while registering, that is
    one of its steps.

    Shapes: {"label", "colour", "text", "steps", "section", "organization"}.
    """
    environment = status.environment()
    found = {"steps": [], "section": None, "organization": None}
    if settings.INSTALLATION_TYPE == "SAAS":
        count = Organization.objects.visible().count()
        text = _("An installation for many organizations; there are {count}.")
        return found | _state("OK", "success", text.format(count=count))
    if environment["status"] == status.MISSING_ORGANIZATION:
        return found | _unregistered(is_stopped)
    if environment["status"] == status.MISSING_LICENCE:
        usable = Organization.objects.filter(status__in=USABLE).order_by("created_at")
        code = usable.values_list("code", flat=True).first()
        text = _("Organization {code} is registered. Next, it needs its licence.")
        step = {"title": SYNC_LICENCE, **licence_step(code)}
        state = _state("MISSING_LICENCE", "warning", text.format(code=code))
        return found | state | {"steps": [step]}
    text = _("Registered and licensed. There is nothing to set up.")
    return (
        found
        | _state("OK", "success", text)
        | {"organization": environment["organization"]}
    )


def _unregistered(is_stopped):
    running = Registration.objects.filter(state=Registration.State.RUNNING).first()
    if running is not None:
        text = _("The registration is running. Next, it finishes its steps by itself.")
        if is_stopped:
            text = _(
                "The registration stopped at a step. Next, mend what its error says, "
                "and retry its work order."
            )
        state = _state("MISSING_ORGANIZATION", "info", text)
        return state | {"section": steps_section(running)}
    text = _("Nothing is registered. Next, register the organization.")
    steps = first_steps()[:2]
    return _state("MISSING_ORGANIZATION", "warning", text) | {"steps": steps}


def _state(label, colour, text):
    return {"label": label, "colour": colour, "text": text}


def count_work():
    """
    Return how many work orders wait, for a worker or for a person.

    Shapes: {"due": int, "late": int, "parked": int}.
    """
    now = timezone.now()
    untaken = Q(leased_until=None) | Q(leased_until__lte=now)
    is_due = Q(state=WorkOrder.State.DUE)
    return WorkOrder.objects.aggregate(
        due=Count("pk", filter=is_due),
        late=Count("pk", filter=is_due & untaken & Q(due_at__lte=now - LATE)),
        parked=Count("pk", filter=Q(state=WorkOrder.State.PARKED)),
    )


def queue_troubles(owed, work):
    """Return what is wrong with deliveries, work orders and incoming messages."""
    found = []
    if owed["blocked"]:
        text = _("Streams that the broker refuses to take further: {count}.")
        found.append(
            _trouble(text, owed["blocked"], list_url(Stream, state="blocked"), "danger")
        )
    if work["parked"]:
        text = _("Work orders that stopped and wait for you: {count}.")
        url = list_url(WorkOrder, state="parked")
        found.append(_trouble(text, work["parked"], url, "danger"))
    is_late = owed["oldest_at"] and timezone.now() - owed["oldest_at"] > LATE
    if work["late"] or (is_late and not owed["blocked"]):
        text = _("What is due waits for more than a minute. Is a worker running?")
        found.append(_trouble(text, 0, list_url(WorkOrder, state="due"), "danger"))
    if count := RejectedMessage.objects.count():
        text = _("Messages from other systems that were not understood: {count}.")
        found.append(_trouble(text, count, list_url(RejectedMessage), "warning"))
    return found


def licence_troubles():
    """Return the licences that have run out, or soon will."""
    now = timezone.now()
    ending = Licence.objects.filter(
        valid_to__lte=now + SOON, organization__status__in=USABLE
    )
    found = []
    for licence in ending.select_related("organization").order_by("valid_to")[:SHOWN]:
        code, day = licence.organization.code, f"{licence.valid_to:%Y-%m-%d}"
        if licence.is_expired(now):
            text = _("The licence of {code} ran out on {day}. All goes on; renew it.")
        else:
            text = _("The licence of {code} runs out on {day}. Renew it in time.")
        url = reverse("admin:organizations_licence_change", args=[licence.pk])
        found.append(
            {"text": text.format(code=code, day=day), "url": url, "colour": "warning"}
        )
    return found


def _trouble(text, count, url, colour):
    return {"text": text.format(count=count), "url": url, "colour": colour}


def _age(at):
    if at is None or timezone.now() - at < timedelta(minutes=1):
        return _("less than a minute")
    return timesince(at)


@never_cache
@require_safe
def health(request):
    """
    Return the front page's card of how every system is.

    A page of its own, because asking takes a second when one of them hangs.
    """
    rows = [
        {
            "title": re.sub(r"([A-Z])", r" \1", name).lower(),
            "status": finding.status,
            "colour": HEALTH_COLOURS[finding.status],
            "reason": finding.reason,
            "next_step": finding.next_step,
        }
        for name, finding in probes.report().items()
    ]
    return render(request, "console/health.html", {"rows": rows})


def navigation(request):
    """Return the console's menu; what waits for somebody carries a number."""
    blocked = Stream.objects.exclude(blocked_at=None).count()
    parked = WorkOrder.objects.filter(state=WorkOrder.State.PARKED).count()
    return [
        {"items": [_item(_("Front page"), "home", reverse("admin:index"))]},
        {
            "title": _("Organizations"),
            "separator": True,
            "items": [
                _item(_("Organizations"), "domain", list_url(Organization)),
                _item(_("Users"), "group", list_url(User)),
                _item(_("Licences"), "verified", list_url(Licence)),
                _item(_("Registrations"), "how_to_reg", list_url(Registration)),
            ],
        },
        {
            "title": _("Events and work"),
            "separator": True,
            "items": [
                _item(_("History"), "history", list_url(Event)),
                _item(_("Work orders"), "checklist", list_url(WorkOrder), parked),
                _item(_("Streams"), "conversion_path", list_url(Stream), blocked),
                _item(_("Owed deliveries"), "outbox", list_url(Delivery)),
                _item(_("Rejected messages"), "report", list_url(RejectedMessage)),
            ],
        },
        {
            "title": _("Access"),
            "separator": True,
            "items": [_item(_("Operators"), "badge", list_url(Operator))],
        },
    ]


def tabs(request):
    """Return the tabs above lists that are mostly looked at by state."""
    work = {"": _("All"), "parked": _("Parked"), "due": _("Due"), "done": _("Done")}
    streams = {"": _("All"), "blocked": _("Blocked"), "owed": _("Something owed")}
    return [
        _state_tabs(request, WorkOrder, work),
        _state_tabs(request, Stream, streams),
    ]


def _state_tabs(request, model, states):
    return {
        "models": [str(model._meta)],
        "items": [
            {
                "title": title,
                "link": list_url(model, **({"state": state} if state else {})),
                "active": request.GET.get("state", "") == state,
            }
            for state, title in states.items()
        ],
    }


def favicon(request):
    """Return the icon of the browser's tab, without another request."""
    return (
        "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' "
        "viewBox='0 0 16 16'><rect width='16' height='16' rx='3' fill='%239810fa'/>"
        "<path d='M4 12V4h4v8M8 7h4v5' fill='none' stroke='white'/></svg>"
    )


def _item(title, icon, link, badge=0):
    return {"title": title, "icon": icon, "link": link, "badge": badge}
