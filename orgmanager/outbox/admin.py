"""The console's pages of events, deliveries and work orders."""

from django.contrib import admin
from django.db.models import Count, Exists, F, Min, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import DropdownFilter, RadioFilter
from unfold.decorators import display
from unfold.paginator import InfinitePaginator

from ..console import (
    OperationAdmin,
    OrganizationFilter,
    OwnedAdmin,
    label,
    link_to,
    list_url,
    moment,
    operation_action,
    parse_uuid,
    preformatted,
    pretty,
)
from . import operations, work
from .event_types import REGISTRY
from .exceptions import NotBlocked
from .models import Delivery, Event, RejectedMessage, Stream, WorkOrder
from .preview import preview

LONGEST_ID = 18  # digits that fit any column
SHOWN = 20  # rows of another table that a page shows
KINDS = ("organization", "user", "licence", "event")  # of subjects with an id
HEAVY = ("value", "headers", "data")  # columns of events that no list needs


class EventTypeFilter(DropdownFilter):
    title = _("type")
    parameter_name = "type"

    def lookups(self, request, model_admin):
        return [(name, name) for name in sorted(REGISTRY)]

    def queryset(self, request, queryset):
        return queryset.filter(type=self.value()) if self.value() else queryset


@admin.register(Event)
class EventAdmin(OwnedAdmin):
    introduction = _(
        "Everything that happened, newest first: who did what, when and why. "
        "Nothing here can be changed."
    )
    when_empty = (
        _("Nothing has happened yet"),
        _("The first events appear when an organization is registered."),
    )
    list_display = ["recorded", "type", "subject", "organization", "actor", "reason"]
    list_filter = [EventTypeFilter, OrganizationFilter]
    search_fields = ["subject"]
    search_help_text = _("Exact subject (user/…), or any id")
    paginator = InfinitePaginator
    show_full_result_count = False
    fieldsets = [
        (None, {"fields": ["type", "meaning", "recorded", "organization", "subject"]}),
        (_("Who and why"), {"fields": ["actor", "reason"]}),
        (_("Content"), {"fields": ["event_id", "number", "content"]}),
        (_("Delivery"), {"fields": ["delivery_state", "topic"]}),
    ]
    readonly_fields = [
        "meaning",
        "recorded",
        "organization",
        "number",
        "content",
        "delivery_state",
        "topic",
    ]

    def get_queryset(self, request):
        rows = super().get_queryset(request).defer(*HEAVY)
        return rows.select_related("stream", "delivery")

    def get_search_results(self, request, queryset, search_term):
        if not search_term:
            return queryset, False
        found = Q(subject=search_term)
        if key := parse_uuid(search_term):
            found |= Q(event_id=key) | Q(organization_id=key)
            found |= Q(subject__in=[f"{kind}/{key}" for kind in KINDS])
        return queryset.filter(found), False

    @display(description=_("recorded at"), ordering="id")
    def recorded(self, event):
        return moment(event.recorded_at)

    @display(description=_("meaning"))
    def meaning(self, event):
        known = REGISTRY.get(event.type)
        return known.summary if known else _("A type of an earlier version.")

    @display(description=_("number"))
    def number(self, event):
        return f"{event.sequence} in epoch {event.epoch}"

    @display(description=_("content"))
    def content(self, event):
        return pretty(event.data)

    @display(description=_("state"))
    def delivery_state(self, event):
        if not event.stream.topic:
            return _("Kept here only; no other system is told.")
        if hasattr(event, "delivery"):
            owed = label(_("owed"), "warning")
            return format_html("{} {}", owed, link_to(event.stream))
        return label(_("delivered"), "success")

    @display(description=_("topic"))
    def topic(self, event):
        return event.stream.topic


class StreamStateFilter(RadioFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request, model_admin):
        return [("blocked", _("Blocked")), ("owed", _("Something is owed"))]

    def queryset(self, request, queryset):
        if self.value() == "blocked":
            return queryset.exclude(blocked_at=None)
        if self.value() == "owed":
            owed = Delivery.objects.filter(stream=OuterRef("pk"))
            return queryset.filter(Exists(owed))
        return queryset


def first_owed(stream):
    """
    Return the id of the event that the stream stands at.

    Raises: NotBlocked when nothing is owed any more.
    """
    owed = stream.deliveries.order_by("event_id")
    event_id = owed.values_list("event__event_id", flat=True).first()
    if event_id is None:
        raise NotBlocked(f"Nothing is owed of {stream} any more; all is delivered.")
    return event_id


def describe_first_owed(stream):
    """Return which event the stream stands at, and what the broker said of it."""
    owed = stream.deliveries.select_related("event").order_by("event_id")
    first = owed.defer(*(f"event__{name}" for name in HEAVY)).first()
    if first is None:
        return ""
    event = first.event
    return f"{event}, of {event.subject}. The broker said: {stream.blocked_error}"


def is_blocked(stream):
    return stream.blocked_at is not None


@admin.register(Stream)
class StreamAdmin(OwnedAdmin):
    introduction = _(
        "The events of each organization go to a topic in their order. When the "
        "broker refuses one, that stream alone stops here until you retry or skip it."
    )
    when_empty = (
        _("No stream yet"),
        _("One appears with the first event that an organization sends."),
    )
    list_display = ["topic", "organization", "state", "owed_events", "oldest"]
    list_filter = [StreamStateFilter, OrganizationFilter]
    ordering = [F("blocked_at").asc(nulls_last=True), "id"]
    fieldsets = [
        (None, {"fields": ["topic", "organization", "state", "refusal"]}),
        (
            _("Numbers"),
            {"fields": ["last_sequence", "epoch", "owed_events", "oldest"]},
        ),
    ]
    readonly_fields = ["organization", "state", "refusal", "owed_events", "oldest"]

    retry_delivery = operation_action(
        operations.retry_delivery,
        label=_("Retry"),
        explanation=_(
            "The event that was refused is sent again, and the others after it. "
            "Do this once the reason is mended; otherwise the stream stops again."
        ),
        done=_("The stream is delivered again, from the event that was refused."),
        icon="refresh",
        target=first_owed,
        about=describe_first_owed,
        when=is_blocked,
    )
    skip_event = operation_action(
        operations.skip_event,
        label=_("Skip event"),
        explanation=_(
            "The event that was refused is given up. A tombstone with its number is "
            "sent instead, and the others follow. Other systems never learn what the "
            "event said; here it stays in the history. This cannot be undone."
        ),
        done=_("The event is skipped; the others are delivered."),
        icon="skip_next",
        danger=True,
        asks_reason=True,
        target=first_owed,
        about=describe_first_owed,
        when=is_blocked,
    )
    actions_detail = ["retry_delivery", "skip_event"]
    actions = ["retry_delivery"]

    def get_queryset(self, request):
        owed = Delivery.objects.filter(stream=OuterRef("pk")).order_by()
        count = owed.values("stream").annotate(n=Count("pk")).values("n")
        oldest = owed.values("stream").annotate(at=Min("event__recorded_at"))
        rows = super().get_queryset(request).exclude(topic="")
        return rows.annotate(
            owed=Coalesce(Subquery(count), 0), oldest_at=Subquery(oldest.values("at"))
        )

    def get_sections(self, request, stream):
        rows = stream.deliveries.select_related("event").order_by("event_id")
        rows = rows.defer(*(f"event__{name}" for name in HEAVY))[:SHOWN]
        return [
            {
                "title": _("Owed to the broker, oldest first"),
                "table": {
                    "headers": [_("event"), _("subject"), _("since"), _("size")],
                    "rows": [
                        [
                            link_to(row.event),
                            row.event.subject,
                            moment(row.event.recorded_at),
                            f"{row.size:,} bytes",
                        ]
                        for row in rows
                    ],
                },
                "empty": _("Nothing: all events of this stream are delivered."),
                "link": {
                    "url": list_url(Delivery, stream__id__exact=stream.pk),
                    "title": _("All that is owed"),
                },
            }
        ]

    @display(description=_("state"), ordering="blocked_at")
    def state(self, stream):
        if is_blocked(stream):
            return label(_("blocked"), "danger")
        if stream.owed:
            return label(_("being delivered"), "info")
        return label(_("up to date"), "success")

    @display(description=_("what the broker said"))
    def refusal(self, stream):
        return stream.blocked_error

    @display(description=_("owed events"), ordering="owed")
    def owed_events(self, stream):
        return stream.owed

    @display(description=_("oldest owed since"), ordering="oldest_at")
    def oldest(self, stream):
        return moment(stream.oldest_at)


class DestinationFilter(DropdownFilter):
    title = _("destination")
    parameter_name = "destination"

    def lookups(self, request, model_admin):
        return [(name, name) for name in sorted(work.HANDLERS)]

    def queryset(self, request, queryset):
        if not self.value():
            return queryset
        return queryset.filter(destination=self.value())


class StateFilter(RadioFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request, model_admin):
        return WorkOrder.State.choices

    def queryset(self, request, queryset):
        return queryset.filter(state=self.value()) if self.value() else queryset


STATE_COLOURS = {"due": "info", "done": "success", "parked": "danger"}


def state_label(state):
    """Return the state of a work order, coloured."""
    return label(WorkOrder.State(state).label, STATE_COLOURS[state])


@admin.register(WorkOrder)
class WorkOrderAdmin(OwnedAdmin):
    introduction = _(
        "What other systems still have to be told. Orders that are due are tried "
        "again by themselves, at ever longer pauses; parked ones wait for you."
    )
    when_empty = (
        _("No work orders"),
        _("They appear when something happens that another system must know."),
    )
    list_display = [
        "destination",
        "organization",
        "state_label",
        "tries",
        "next",
        "why",
    ]
    list_filter = [StateFilter, DestinationFilter, OrganizationFilter]
    ordering = ["-state", "id"]  # parked, due, done
    fieldsets = [
        (None, {"fields": ["destination", "organization", "state_label", "advice"]}),
        (_("Tries"), {"fields": ["tries", "next", "error", "error_code"]}),
        (_("Times"), {"fields": ["created", "finished", "leased"]}),
    ]
    readonly_fields = [
        "organization",
        "state_label",
        "advice",
        "tries",
        "next",
        "created",
        "finished",
        "leased",
    ]

    retry_work = operation_action(
        operations.retry_work,
        label=_("Retry"),
        explanation=_(
            "The worker tries this order again within a second. Do this once the "
            "reason is mended."
        ),
        done=_("{row} is due now; the worker takes it within a second."),
        icon="refresh",
        when=lambda order: order.state != WorkOrder.State.DONE,
    )
    actions_detail = ["retry_work"]
    actions = ["retry_work"]

    @display(description=_("state"), ordering="state")
    def state_label(self, order):
        return state_label(order.state)

    @display(description=_("what to do"))
    def advice(self, order):
        if order.state == WorkOrder.State.PARKED:
            return _("Mend what the error says, then press Retry.")
        if order.state == WorkOrder.State.DONE:
            return _("Nothing: the other system has what it needs.")
        if order.error:
            return _("Nothing yet: it is tried again by itself. See the error.")
        return _("Nothing: it runs within a second, while a worker runs.")

    @display(description=_("failed tries"), ordering="attempts")
    def tries(self, order):
        return order.attempts

    @display(description=_("next try"), ordering="due_at")
    def next(self, order):
        return moment(order.due_at) if order.state == WorkOrder.State.DUE else "-"

    @display(description=_("error"))
    def why(self, order):
        return format_html(
            '<span title="{}">{}</span>', order.error, shortened(order.error) or "-"
        )

    @display(description=_("created"))
    def created(self, order):
        return moment(order.created_at)

    @display(description=_("finished"))
    def finished(self, order):
        return moment(order.finished_at)

    @display(description=_("taken by a worker until"))
    def leased(self, order):
        return moment(order.leased_until)


@admin.register(Delivery)
class DeliveryAdmin(OwnedAdmin):
    introduction = _(
        "Events that the broker does not have yet. Each row goes when the broker "
        "confirms it. If rows stay, see the streams, or whether a worker runs."
    )
    when_empty = (_("Nothing is owed"), _("The broker has every event."))
    organization_id_of = staticmethod(lambda delivery: delivery.event.organization_id)
    list_display = ["event_link", "subject", "organization", "topic", "since", "bytes"]
    list_display_links = None
    paginator = InfinitePaginator
    show_full_result_count = False
    ordering = ["event_id"]
    fields = ["event_link", "subject", "organization", "topic", "since", "bytes"]
    readonly_fields = fields

    def get_queryset(self, request):
        rows = super().get_queryset(request).select_related("event", "stream")
        return rows.defer(*(f"event__{name}" for name in HEAVY))

    def get_object(self, request, object_id, from_field=None):
        # Django knows how long numbers may be, except where they are foreign keys.
        if len(object_id) > LONGEST_ID:
            return None
        return super().get_object(request, object_id, from_field)

    def lookup_allowed(self, lookup, value, request):
        return lookup == "stream__id__exact" or super().lookup_allowed(
            lookup, value, request
        )

    @display(description=_("event"))
    def event_link(self, delivery):
        return link_to(delivery.event)

    @display(description=_("subject"))
    def subject(self, delivery):
        return delivery.event.subject

    @display(description=_("topic"))
    def topic(self, delivery):
        return link_to(delivery.stream, delivery.stream.topic)

    @display(description=_("owed since"))
    def since(self, delivery):
        return moment(delivery.event.recorded_at)

    @display(description=_("size"))
    def bytes(self, delivery):
        return f"{delivery.size:,} bytes"


@admin.register(RejectedMessage)
class RejectedMessageAdmin(OperationAdmin):
    introduction = _(
        "Messages from other systems that could not be understood. They are kept "
        "here and not read again: tell whoever sent them, and have them sent anew."
    )
    when_empty = (
        _("No rejected messages"),
        _("Every message from other systems was understood."),
    )
    list_display = ["received", "topic", "partition", "offset", "why"]
    fieldsets = [
        (None, {"fields": ["received", "error"]}),
        (_("Where it is"), {"fields": ["topic", "partition", "offset"]}),
        (
            _("What it said"),
            {
                "fields": ["key_preview", "value_preview"],
                "description": _("Tokens and anything called a secret are left out."),
            },
        ),
    ]
    readonly_fields = ["received", "key_preview", "value_preview"]

    def get_queryset(self, request):
        return super().get_queryset(request).defer("key", "value")

    @display(description=_("received at"), ordering="id")
    def received(self, message):
        return moment(message.received_at)

    @display(description=_("error"))
    def why(self, message):
        return format_html(
            '<span title="{}">{}</span>', message.error, shortened(message.error)
        )

    @display(description=_("key"))
    def key_preview(self, message):
        return preformatted(preview(bytes(message.key)))

    @display(description=_("value"))
    def value_preview(self, message):
        return preformatted(preview(bytes(message.value)))


def shortened(text, length=80):
    """Return the beginning of ``text``, for a cell of a list."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
