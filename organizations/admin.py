"""The console's pages of organizations, their users, licence and registration."""

from datetime import timedelta

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesRadioFilter
from unfold.decorators import display

from orgmanager.console import (
    OperationAdmin,
    OwnedAdmin,
    label,
    link_to,
    list_url,
    moment,
    names_organizations,
    operation_action,
    pretty,
)
from orgmanager.outbox.models import Event, WorkOrder

from . import operations, registration, status
from .access import USABLE
from .models import Licence, Organization, Registration, User

SHOWN = 20  # rows of another table that a page shows
SOON = timedelta(days=30)  # before its end, a licence is called to mind

Status = Organization.Status

STATUS_COLOURS = {
    Status.PENDING: "info",
    Status.ACTIVE: "success",
    Status.SUSPENDED: "warning",
    Status.DELETING: "danger",
    Status.DELETED: "",
}
MEANINGS = {
    Status.PENDING: _("Being registered. The steps below say how far that is."),
    Status.ACTIVE: _("Its people can sign in and work."),
    Status.SUSPENDED: _("Nobody of it can sign in. Its data is kept."),
    Status.DELETING: _("Closed, and removed when the time to think again is over."),
    Status.DELETED: _("Removed. Only its history is left."),
}
USER_COLOURS = {
    User.Status.INVITED: "info",
    User.Status.ACTIVE: "success",
    User.Status.DISABLED: "warning",
    User.Status.REMOVED: "",
}
STEP_COLOURS = {"DUE": "info", "DONE": "success", "PARKED": "danger"}
STEP_TEXTS = {"DUE": _("to do"), "DONE": _("done"), "PARKED": _("stopped")}
STEPS_ADVICE = {
    Registration.State.RUNNING: _(
        "The worker goes on with the steps by itself. One that stopped waits for you: "
        "mend what its error says, then retry its work order. To give up, run: "
        "manage.py cancel_registration --confirm CODE"
    ),
    Registration.State.DONE: _("Every step is done."),
    Registration.State.CANCELLED: _(
        "Given up. What it had made in other systems is removed by work orders."
    ),
}
WORK_COLOURS = {"due": "info", "done": "success", "parked": "danger"}


@names_organizations
def name_organizations(ids):
    """Return {id: link} of the organizations that exist, in one query."""
    rows = Organization.objects.filter(pk__in=ids).only("code")
    return {row.pk: link_to(row) for row in rows}


def licence_label(licence, now=None):
    """Return how long a licence lasts, coloured by how urgent that is."""
    now = now or timezone.now()
    if licence.is_expired(now):
        return label(_("expired"), "danger")
    if licence.valid_to - now <= SOON:
        days = (licence.valid_to - now).days
        return label(_("{days} days left").format(days=days), "warning")
    return label(_("valid"), "success")


def status_label(organization):
    """Return the status of an organization, coloured."""
    colour = STATUS_COLOURS[organization.status]
    return label(organization.get_status_display(), colour)


def user_label(user):
    """Return the status of a user, coloured."""
    return label(user.get_status_display(), USER_COLOURS[user.status])


def role_labels(user):
    """Return the roles of a user whose memberships are loaded already."""
    roles = sorted(each.get_role_display() for each in user.memberships.all())
    return format_html_join(" ", "{}", ((label(role),) for role in roles)) or "-"


def history_section(events, url):
    """Return the section of a page that shows the newest of ``events``."""
    events = events.only(
        "type", "subject", "actor", "reason", "recorded_at", "sequence"
    )
    return {
        "title": _("History, newest first"),
        "table": {
            "headers": [_("when"), _("what"), _("who"), _("why")],
            "rows": [
                [
                    moment(event.recorded_at),
                    link_to(event, event.type),
                    event.actor,
                    event.reason or "-",
                ]
                for event in events.order_by("-id")[:SHOWN]
            ],
        },
        "empty": _("Nothing has happened yet."),
        "link": {"url": url, "title": _("Whole history")},
    }


def steps_section(row):
    """Return the section of a page that shows how far a registration is."""
    section = {
        "title": _("Registration, step by step"),
        "text": STEPS_ADVICE[row.state],
        "link": {
            "url": list_url(WorkOrder, organization=row.organization_id),
            "title": _("Work orders of this organization"),
        },
    }
    if row.state == Registration.State.CANCELLED:
        return section
    # What became of the same work orders later is no step of the registration.
    is_done = row.state == Registration.State.DONE
    return section | {
        "table": {
            "headers": [_("step"), _("state"), _("failed tries"), _("error")],
            "rows": [
                [step["title"], label(STEP_TEXTS["DONE"], "success"), "-", "-"]
                if is_done
                else [
                    step["title"],
                    label(STEP_TEXTS[step["state"]], STEP_COLOURS[step["state"]]),
                    step["attempts"],
                    step["error"] or "-",
                ]
                for step in registration.steps(row)
            ],
        },
    }


@admin.register(Organization)
class OrganizationAdmin(OperationAdmin):
    introduction = _("The customers of this installation.")
    when_empty = (
        _("No organization yet"),
        _("Register this installation first: the front page says how."),
    )
    list_display = ["code", "name", "status_label", "licence_state", "since"]
    list_filter = [("status", ChoicesRadioFilter)]
    search_fields = ["code", "name", "external_id"]
    list_select_related = ["licence"]
    fieldsets = [
        (None, {"fields": [("name", "code"), ("id", "external_id")]}),
        (
            _("State"),
            {"fields": [("status_label", "meaning"), ("status_since", "since")]},
        ),
        (
            _("Sign-in details"),
            {
                "fields": ["issuer", "token_endpoint", ("client", "redirect_uri")],
                "description": _(
                    "What Designer and other clients need. "
                    "<code>GET /org/api/env</code> says the same."
                ),
            },
        ),
        (
            _("Licence"),
            {
                "fields": [
                    ("licence_state", "licence_source"),
                    ("licence_begin", "licence_end"),
                    ("licence_limits", "licence_features"),
                ]
            },
        ),
    ]
    readonly_fields = [
        "id",
        "status_label",
        "meaning",
        "status_since",
        "since",
        "issuer",
        "token_endpoint",
        "client",
        "redirect_uri",
        "licence_state",
        "licence_begin",
        "licence_end",
        "licence_limits",
        "licence_features",
        "licence_source",
    ]

    def get_queryset(self, request):
        return super().get_queryset(request).select_related("licence")

    def get_sections(self, request, organization):
        row = Registration.objects.filter(organization_id=organization.pk).first()
        steps = [steps_section(row)] if row else []
        is_running = organization.status == Status.PENDING
        return [
            *(steps if is_running else []),
            self._users_section(organization),
            self._work_section(organization),
            *([] if is_running else steps),
            history_section(
                Event.objects.filter(organization_id=organization.pk),
                list_url(Event, organization=organization.pk),
            ),
        ]

    def _users_section(self, organization):
        users = organization.users.exclude(status=User.Status.REMOVED)
        users = users.prefetch_related("memberships").order_by("email")[:SHOWN]
        return {
            "title": _("Users"),
            "table": {
                "headers": [_("e-mail"), _("name"), _("status"), _("roles")],
                "rows": [
                    [
                        link_to(user),
                        full_name(user),
                        user_label(user),
                        role_labels(user),
                    ]
                    for user in users
                ],
            },
            "empty": _("Nobody yet. The first administrator comes with registration."),
            "link": {
                "url": list_url(User, organization__id__exact=organization.pk),
                "title": _("All users"),
            },
        }

    def _work_section(self, organization):
        orders = WorkOrder.objects.filter(organization_id=organization.pk)
        return {
            "title": _("Work orders: what other systems have to be told"),
            "table": {
                "headers": [
                    _("destination"),
                    _("state"),
                    _("failed tries"),
                    _("error"),
                ],
                "rows": [
                    [
                        link_to(order, order.destination),
                        label(order.get_state_display(), WORK_COLOURS[order.state]),
                        order.attempts,
                        order.error or "-",
                    ]
                    for order in orders.order_by("-state", "id")[:SHOWN]
                ],
            },
            "empty": _("None: there is nothing that other systems do not know."),
            "link": {
                "url": list_url(WorkOrder, organization=organization.pk),
                "title": _("All work orders"),
            },
        }

    @display(description=_("status"), ordering="status")
    def status_label(self, organization):
        return status_label(organization)

    @display(description=_("meaning"))
    def meaning(self, organization):
        return MEANINGS[organization.status]

    @display(description=_("in this status since"))
    def status_since(self, organization):
        return moment(organization.status_changed_at)

    @display(description=_("since"), ordering="created_at")
    def since(self, organization):
        return moment(organization.created_at)

    @display(description=_("issuer"))
    def issuer(self, organization):
        return self._sign_in(organization, "issuer")

    @display(description=_("token endpoint"))
    def token_endpoint(self, organization):
        return self._sign_in(organization, "tokenEndpoint")

    @display(description=_("client id"))
    def client(self, organization):
        return self._sign_in(organization, "clientId")

    @display(description=_("address after sign-in"))
    def redirect_uri(self, organization):
        return self._sign_in(organization, "redirectUri")

    def _sign_in(self, organization, detail):
        if organization.status not in USABLE:
            return "-"
        return status.sign_in_details(organization)[detail]

    @display(description=_("licence"))
    def licence_state(self, organization):
        if hasattr(organization, "licence"):
            return format_html(
                "{} {}",
                licence_label(organization.licence),
                link_to(organization.licence),
            )
        if organization.status in USABLE:
            return label(_("none yet"), "warning")
        return "-"

    @display(description=_("valid from"))
    def licence_begin(self, organization):
        return moment(self._licence(organization, "valid_from"))

    @display(description=_("valid to"))
    def licence_end(self, organization):
        return moment(self._licence(organization, "valid_to"))

    @display(description=_("limits"))
    def licence_limits(self, organization):
        limits = self._licence(organization, "limits")
        return pretty(limits) if limits else "-"

    @display(description=_("features"))
    def licence_features(self, organization):
        return ", ".join(self._licence(organization, "features") or ()) or "-"

    @display(description=_("source"))
    def licence_source(self, organization):
        return self._licence(organization, "source") or "-"

    def _licence(self, organization, name):
        return getattr(getattr(organization, "licence", None), name, None)


def full_name(user):
    """Return the name of a user as people say it."""
    return f"{user.first_name} {user.last_name}".strip()


@admin.register(User)
class UserAdmin(OperationAdmin):
    introduction = _(
        "People who belong to an organization. They sign in to the platform, not to "
        "this console."
    )
    when_empty = (
        _("No users yet"),
        _("The first administrator comes with the registration."),
    )
    list_display = ["email", "name", "organization", "status_label", "roles"]
    list_filter = [("status", ChoicesRadioFilter)]
    list_select_related = ["organization"]
    search_fields = ["email", "first_name", "last_name"]
    fieldsets = [
        (None, {"fields": ["email", "name", "id", "organization_link"]}),
        (_("State"), {"fields": ["status_label", "roles", "since"]}),
    ]
    readonly_fields = [
        "id",
        "name",
        "organization_link",
        "status_label",
        "roles",
        "since",
    ]

    disable_user = operation_action(
        operations.disable_user,
        label=_("Disable user"),
        explanation=_(
            "They lose everything they may do, at once and until somebody enables "
            "them again. Their roles and their work are kept."
        ),
        done=_("{row} is disabled."),
        icon="block",
        danger=True,
        asks_reason=True,
        when=lambda user: user.status == User.Status.ACTIVE,
    )
    enable_user = operation_action(
        operations.enable_user,
        label=_("Enable user"),
        explanation=_("They get the roles again that they had."),
        done=_("{row} is enabled."),
        icon="check_circle",
        asks_reason=True,
        when=lambda user: user.status == User.Status.DISABLED,
    )
    actions_detail = ["disable_user", "enable_user"]

    def get_queryset(self, request):
        rows = super().get_queryset(request)
        return rows.select_related("organization").prefetch_related("memberships")

    def get_sections(self, request, user):
        events = Event.objects.filter(
            organization_id=user.organization_id, subject=f"user/{user.pk}"
        )
        return [history_section(events, list_url(Event, q=f"user/{user.pk}"))]

    @display(description=_("name"), ordering="last_name")
    def name(self, user):
        return full_name(user)

    @display(description=_("organization"))
    def organization_link(self, user):
        return link_to(user.organization)

    @display(description=_("status"), ordering="status")
    def status_label(self, user):
        return user_label(user)

    @display(description=_("roles"))
    def roles(self, user):
        return role_labels(user)

    @display(description=_("since"))
    def since(self, user):
        return moment(user.created_at)


@admin.register(Licence)
class LicenceAdmin(OperationAdmin):
    introduction = _(
        "What each organization may use, as the licence server last said. A licence "
        "that has run out stops nothing that runs."
    )
    when_empty = (
        _("No licence yet"),
        _(
            "The licence server sends one for each organization. On a site without "
            "network: manage.py sync_licence --organization CODE --licence-file FILE"
        ),
    )
    list_display = ["organization", "plan", "state", "until", "source", "synced"]
    list_select_related = ["organization"]
    search_fields = ["organization__code", "plan"]
    ordering = ["valid_to"]
    fieldsets = [
        (None, {"fields": ["organization_link", "plan", "state", "begin", "until"]}),
        (_("Content"), {"fields": ["limits_text", "features_text"]}),
        (_("Where it is from"), {"fields": ["source", "issued", "synced"]}),
    ]
    readonly_fields = [
        "organization_link",
        "state",
        "begin",
        "until",
        "limits_text",
        "features_text",
        "issued",
        "synced",
    ]

    @display(description=_("organization"))
    def organization_link(self, licence):
        return link_to(licence.organization)

    @display(description=_("state"))
    def state(self, licence):
        return licence_label(licence)

    @display(description=_("valid from"))
    def begin(self, licence):
        return moment(licence.valid_from)

    @display(description=_("valid to"), ordering="valid_to")
    def until(self, licence):
        return moment(licence.valid_to)

    @display(description=_("limits"))
    def limits_text(self, licence):
        return pretty(licence.limits) if licence.limits else _("none")

    @display(description=_("features"))
    def features_text(self, licence):
        return ", ".join(licence.features) or "-"

    @display(description=_("issued"))
    def issued(self, licence):
        return moment(licence.issued_at)

    @display(description=_("taken over"))
    def synced(self, licence):
        return moment(licence.synced_at)


@admin.register(Registration)
class RegistrationAdmin(OwnedAdmin):
    introduction = _("How this installation got its organization, tries included.")
    when_empty = (
        _("Not registered yet"),
        _("The front page says how to register this installation."),
    )
    list_display = ["started", "organization", "state_label", "finished"]
    fieldsets = [
        (None, {"fields": ["organization", "state_label", "token_id"]}),
        (_("Times"), {"fields": ["started", "finished"]}),
    ]
    readonly_fields = ["organization", "state_label", "started", "finished"]

    def get_sections(self, request, row):
        return [steps_section(row)]

    @display(description=_("started"), ordering="started_at")
    def started(self, row):
        return moment(row.started_at)

    @display(description=_("state"), ordering="state")
    def state_label(self, row):
        colours = {"RUNNING": "info", "DONE": "success", "CANCELLED": "warning"}
        return label(row.get_state_display(), colours[row.state])

    @display(description=_("finished"))
    def finished(self, row):
        return moment(row.finished_at)
