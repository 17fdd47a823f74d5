"""Numbers about what is owed, read when they are asked for."""

from django.db.models import Count, Min, Q
from django.utils import timezone
from prometheus_client.core import GaugeMetricFamily

from . import relay, work
from .models import WorkOrder


def read():
    """Return the gauges of events and of work orders."""
    return [*_read_events(), *_read_work_orders()]


def _read_events():
    owed, now = relay.lag(), timezone.now()
    oldest_at = owed["oldest_at"] or now
    yield GaugeMetricFamily(
        "orgmanager_outbox_pending_events",
        "Events recorded but not yet delivered.",
        value=owed["pending"],
    )
    yield GaugeMetricFamily(
        "orgmanager_outbox_lag_seconds",
        "Age of the oldest event not yet delivered; 0 when none is owed.",
        value=(now - oldest_at).total_seconds(),
    )
    yield GaugeMetricFamily(
        "orgmanager_outbox_blocked_streams",
        "Streams that stand still until an operator retries or skips their event.",
        value=owed["blocked"],
    )


def _read_work_orders():
    orders = GaugeMetricFamily(
        "orgmanager_work_orders",
        "Work orders that are not done: due, retrying after a failure, or parked.",
        labels=["destination", "state"],
    )
    overdue = GaugeMetricFamily(
        "orgmanager_work_order_overdue_seconds",
        "How long the oldest order has waited past its time; 0 when none does.",
        labels=["destination"],
    )
    now = timezone.now()
    rows = {row["destination"]: row for row in _unfinished(now)}
    for destination in sorted({*work.HANDLERS, *rows}):
        row = rows.get(destination, {})
        for state in ("due", "retrying", "parked"):
            orders.add_metric([destination, state], row.get(state, 0))
        due_at = row.get("oldest_due_at") or now
        overdue.add_metric([destination], (now - due_at).total_seconds())
    return [orders, overdue]


def _unfinished(now):
    is_due = Q(state=WorkOrder.State.DUE)
    is_parked = Q(state=WorkOrder.State.PARKED)
    return (
        WorkOrder.objects.unfinished()
        .order_by()  # else the model's own order takes part in the grouping
        .values("destination")
        .annotate(
            due=Count("pk", filter=is_due & Q(attempts=0)),
            retrying=Count("pk", filter=is_due & Q(attempts__gt=0)),
            parked=Count("pk", filter=is_parked),
            oldest_due_at=Min("due_at", filter=is_due & Q(due_at__lte=now)),
        )
    )
