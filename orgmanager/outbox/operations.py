"""What an operator can do to deliveries and work orders, one function per verb."""

from django.db import transaction

from . import events
from .exceptions import EventNotFound, NotBlocked, OrderNotFound
from .models import Delivery, Event, Stream, WorkOrder
from .record import record


@transaction.atomic
def retry_delivery(event_id, *, actor):
    """
    Set the stream of an event going again, from the event that was refused on.

    Raises: EventNotFound; NotBlocked.
    """
    stream = _blocked_stream(event_id)
    _unblock(stream)
    record(
        events.DELIVERY_RETRIED,
        organization_id=stream.organization_id,
        subject=f"event/{event_id}",
        actor=actor,
        data={"topic": stream.topic},
    )


@transaction.atomic
def skip_event(event_id, *, actor, reason):
    """
    Give up the event that blocks its stream; a tombstone takes its number.

    Only the event that was refused can be skipped: what stands behind it is
    not known to be bad.

    Raises: EventNotFound; NotBlocked, also for an event that is not the first.
    """
    stream = _blocked_stream(event_id)
    first = stream.deliveries.order_by("event_id").select_related("event").first()
    if str(first.event.event_id) != str(event_id):
        raise NotBlocked(
            f"Event {event_id} waits behind {first.event.event_id}, which is the "
            "one that was refused. Skip that one, or retry it."
        )
    Delivery.objects.filter(pk=first.pk).update(skip_reason=reason)
    _unblock(stream)
    record(
        events.EVENT_SKIPPED,
        organization_id=stream.organization_id,
        subject=f"event/{event_id}",
        actor=actor,
        reason=reason,
        data={"eventId": str(event_id), "type": first.event.type},
    )


@transaction.atomic
def retry_work(pk, *, actor):
    """
    Set a parked or waiting work order going now. One that is done stays done.

    Raises: OrderNotFound.
    """
    order = WorkOrder.objects.select_for_update().filter(pk=pk).first()
    if order is None:
        raise OrderNotFound(f"There is no work order {pk}.")
    if order.state == WorkOrder.State.DONE:
        return order
    WorkOrder.objects.enqueue(
        order.destination,
        order.object_id,
        organization_id=order.organization_id,
        urgent=order.urgent,
    )
    record(
        events.WORK_RETRIED,
        organization_id=order.organization_id,
        subject=f"work/{order.destination}",
        actor=actor,
        data={"destination": order.destination, "object": order.object_id},
    )
    order.refresh_from_db()
    return order


def _blocked_stream(event_id):
    delivery = (
        Delivery.objects.filter(event__event_id=event_id)
        .select_related("stream")
        .first()
    )
    if delivery is None:
        raise EventNotFound(
            f"No event {event_id} is owed to the broker: it was delivered, or never "
            "recorded. See the history of its organization."
        )
    stream = Stream.objects.select_for_update().get(pk=delivery.stream_id)
    if stream.blocked_at is None:
        raise NotBlocked(
            f"The stream of event {event_id} is not blocked; it is being delivered."
        )
    return stream


def _unblock(stream):
    stream.blocked_at, stream.blocked_error = None, ""
    stream.save(update_fields=["blocked_at", "blocked_error"])
    stream.refresh_from_db()


def prune(*, work_before, events_before):
    """
    Delete finished work and old delivered events; return how many rows went.

    What is still owed or parked stays, however old. Batches, so that no lock
    outlives one of them.

    Shapes: both arguments are datetimes; the result is (orders, events).
    """
    orders = WorkOrder.objects.filter(
        state=WorkOrder.State.DONE, finished_at__lt=work_before
    )
    old_events = Event.objects.filter(recorded_at__lt=events_before, delivery=None)
    return _delete_in_batches(orders), _delete_in_batches(old_events)


def _delete_in_batches(rows, size=1000):
    total = 0
    while batch := list(rows.order_by("pk").values_list("pk", flat=True)[:size]):
        rows.model.objects.filter(pk__in=batch).delete()
        total += len(batch)
    return total
