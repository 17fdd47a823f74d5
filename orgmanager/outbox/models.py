"""Events (history and outbox at once), what is owed of them, and work orders."""

import uuid

from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from ..context import trace_parent

SHARDS = 8  # how many relays can share the work; an organization is in one shard


def shard_of(organization_id):
    """Return the shard of an organization: stable, and the same everywhere."""
    return uuid.UUID(str(organization_id)).int % SHARDS


class StreamQuerySet(models.QuerySet):
    def advance(self, organization_id, topic):
        """
        Return the stream, locked until the transaction ends, one number on.

        The row's lock makes the order of sequence numbers the order of
        commits, and a rollback gives its number back: no gaps, no late ones.
        """
        key = {"organization_id": organization_id, "topic": topic}
        if not self.filter(**key).update(last_sequence=F("last_sequence") + 1):
            # Two first events at once: the loser waits, then adds to the winner's.
            row = Stream(**key, shard=shard_of(organization_id))
            self.bulk_create([row], ignore_conflicts=True)
            self.filter(**key).update(last_sequence=F("last_sequence") + 1)
        return self.get(**key)


class Stream(models.Model):
    """The ordered events of one organization on one topic."""

    organization_id = models.UUIDField(_("organization id"), editable=False)
    topic = models.CharField(_("topic"), max_length=249, editable=False)
    shard = models.PositiveSmallIntegerField(editable=False)
    epoch = models.PositiveIntegerField(
        default=1,
        editable=False,
        help_text=_("Raised by a restore, after which numbers may repeat."),
    )
    last_sequence = models.PositiveBigIntegerField(default=0, editable=False)
    blocked_at = models.DateTimeField(null=True, editable=False)
    blocked_error = models.TextField(blank=True, editable=False)

    objects = StreamQuerySet.as_manager()

    class Meta:
        verbose_name = _("stream")
        verbose_name_plural = _("streams")
        constraints = [
            models.UniqueConstraint(
                fields=["organization_id", "topic"], name="outbox_stream_unique"
            ),
        ]

    def __str__(self):
        return f"{self.topic} of {self.organization_id}"


class Event(models.Model):
    """
    A thing that happened: the audit trail, and what is sent, byte for byte.

    Rows are written by record() and never changed.
    """

    id = models.BigAutoField(primary_key=True)
    event_id = models.UUIDField(_("event id"), unique=True, editable=False)
    stream = models.ForeignKey(Stream, models.PROTECT, related_name="events")
    epoch = models.PositiveIntegerField(editable=False)
    sequence = models.PositiveBigIntegerField(_("sequence"), editable=False)
    organization_id = models.UUIDField(_("organization id"), editable=False)
    type = models.CharField(_("type"), max_length=80, editable=False)
    subject = models.CharField(_("subject"), max_length=120, editable=False)
    actor = models.CharField(_("actor"), max_length=200, editable=False)
    reason = models.CharField(_("reason"), max_length=500, blank=True, editable=False)
    data = models.JSONField(_("data"), editable=False)
    value = models.BinaryField(editable=False)
    headers = models.JSONField(editable=False)
    recorded_at = models.DateTimeField(_("recorded at"), editable=False)

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["stream", "epoch", "sequence"],
                name="outbox_event_one_per_sequence",
            ),
        ]
        indexes = [
            models.Index(
                fields=["organization_id", "-id"], name="outbox_event_history"
            ),
        ]

    def __str__(self):
        return f"{self.type} #{self.sequence}"


class Delivery(models.Model):
    """
    An event that is owed to the broker. The row goes when the broker has it.

    A row per event, not a remembered "last id": ids are taken before the
    commit, so a late commit would appear below such a mark and be lost.
    """

    event = models.OneToOneField(Event, models.CASCADE, primary_key=True)
    stream = models.ForeignKey(Stream, models.CASCADE, related_name="deliveries")
    shard = models.PositiveSmallIntegerField(editable=False)
    size = models.PositiveIntegerField(help_text=_("Bytes."), editable=False)
    skip_reason = models.CharField(max_length=500, blank=True, editable=False)

    class Meta:
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        indexes = [models.Index(fields=["shard", "event"], name="outbox_delivery_due")]

    def __str__(self):
        return f"delivery of {self.event_id}"


class WorkOrderQuerySet(models.QuerySet):
    def enqueue(self, destination, object_id, *, organization_id, urgent=False):
        """
        Owe ``destination`` the present state of ``object_id``.

        There is one row per destination and object: asking again raises its
        generation, and what was asked before is answered by the same call.
        """
        changes = _asked_anew() | {
            "urgent": urgent,
            "trace_parent": trace_parent.get(),
        }
        key = {"destination": destination, "object_id": str(object_id)}
        if self.filter(**key).update(**changes):
            return
        row = WorkOrder(**key, organization_id=organization_id, generation=0)
        self.bulk_create([row], ignore_conflicts=True)
        self.filter(**key).update(**changes)

    def retry(self):
        """Set these orders going now, for who asked first; return how many."""
        return self.update(**_asked_anew())

    def unfinished(self):
        """Orders that still have to reach their system, parked ones included."""
        return self.exclude(state=WorkOrder.State.DONE)

    def claimable(self, now):
        """Orders that may be taken now: due, and leased by nobody alive."""
        free = Q(leased_until=None) | Q(leased_until__lte=now)
        return self.filter(free, state=WorkOrder.State.DUE, due_at__lte=now)


def _asked_anew():
    return {
        "generation": F("generation") + 1,
        "state": WorkOrder.State.DUE,
        "due_at": timezone.now(),
        "attempts": 0,
        "error": "",
        "error_code": "",
    }


class WorkOrder(models.Model):
    """
    "Bring this object in that system to the row's present state."

    ``generation`` counts what was asked; an order is done when the generation
    that was read before the call is still the newest after it. ``fence``
    counts leases: only the newest holder may close the order.
    """

    class State(models.TextChoices):
        DUE = "due", _("Due")
        DONE = "done", _("Done")
        PARKED = "parked", _("Parked")

    destination = models.CharField(_("destination"), max_length=40, editable=False)
    object_id = models.CharField(_("object"), max_length=120, editable=False)
    organization_id = models.UUIDField(_("organization id"), editable=False)
    generation = models.PositiveBigIntegerField(default=0, editable=False)
    urgent = models.BooleanField(
        default=False, editable=False, help_text=_("Suspensions and removals go first.")
    )
    state = models.CharField(
        _("state"), max_length=8, choices=State, default=State.DUE, editable=False
    )
    due_at = models.DateTimeField(default=timezone.now, editable=False)
    leased_until = models.DateTimeField(null=True, editable=False)
    fence = models.PositiveBigIntegerField(default=0, editable=False)
    attempts = models.PositiveIntegerField(default=0, editable=False)
    error = models.TextField(_("error"), blank=True, editable=False)
    error_code = models.CharField(max_length=80, blank=True, editable=False)
    # Of the request that asked last: what the work records carries it on.
    trace_parent = models.CharField(
        max_length=55, blank=True, default="", db_default="", editable=False
    )
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, editable=False)

    objects = WorkOrderQuerySet.as_manager()

    class Meta:
        verbose_name = _("work order")
        verbose_name_plural = _("work orders")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["destination", "object_id"], name="outbox_workorder_unique"
            ),
            models.CheckConstraint(
                condition=Q(state__in=["due", "done", "parked"]),
                name="outbox_workorder_state_known",
            ),
        ]
        indexes = [
            models.Index(
                fields=["-urgent", "due_at"],
                condition=Q(state="due"),
                name="outbox_workorder_due",
            ),
            models.Index(
                fields=["organization_id"], name="outbox_workorder_organization"
            ),
        ]

    def __str__(self):
        return f"{self.destination}: {self.object_id}"


class RejectedMessage(models.Model):
    """An incoming message that could not be understood, kept to be looked at."""

    topic = models.CharField(_("topic"), max_length=249, editable=False)
    partition = models.IntegerField(editable=False)
    offset = models.BigIntegerField(editable=False)
    key = models.BinaryField(editable=False)
    value = models.BinaryField(editable=False)
    error = models.TextField(_("error"), editable=False)
    received_at = models.DateTimeField(_("received at"), auto_now_add=True)

    class Meta:
        verbose_name = _("rejected message")
        verbose_name_plural = _("rejected messages")
        ordering = ["-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["topic", "partition", "offset"],
                name="outbox_rejectedmessage_unique",
            ),
        ]

    def __str__(self):
        return f"{self.topic}/{self.partition}@{self.offset}"
