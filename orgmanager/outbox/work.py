"""Work orders: bring another system to the row's present state, and keep at it."""

import logging
import random
import time
from datetime import timedelta

from django.db import close_old_connections
from django.db.models import F
from django.utils import timezone

from ..context import trace_parent
from ..deadlines import until
from ..errors import DATABASE_DOWN, DomainError, Unavailable
from .counters import timed_work
from .models import WorkOrder

logger = logging.getLogger(__name__)

LEASE = timedelta(seconds=30)  # longer than any call; what lasts longer runs twice
LONGEST_PAUSE = 30  # seconds between two tries; somebody may be waiting
WAIT = 1.0  # seconds that an order waits for another, unless that wakes it
POLL_INTERVAL = 0.05  # seconds, while a door waits for its own orders
TROUBLE_PAUSE = 0.5  # seconds, while a door waits for the database

# destination -> function(object_id); the apps register theirs when they are ready
HANDLERS = {}

# (id, fence) of orders whose lease could not be ended, for the database was away
_kept = set()


class NotYet(Exception):
    """The order waits for another one of its organization; that is no failure."""


def register(destination, handler):
    """
    Let ``handler`` serve ``destination``.

    A handler reads the present state itself, may run twice, and holds no
    transaction open during its calls. Raises: Unavailable, to be tried again;
    NotYet; any other DomainError parks the order until somebody looks.
    """
    HANDLERS[destination] = handler


def run_one(*, organization_id=None):
    """Take one order that is due and run it; return it, or None if none is due."""
    _end_kept_leases()
    order = claim(organization_id=organization_id)
    if order is not None:
        try:
            _run(order)
        except DATABASE_DOWN:
            _kept.add((order.pk, order.fence))
            raise
    return order


def _end_kept_leases():
    for pk, fence in list(_kept):
        WorkOrder.objects.filter(pk=pk, fence=fence).update(leased_until=None)
        _kept.discard((pk, fence))


def run_for(organization_id, *, deadline):
    """
    Run the orders of one organization here and now, until none is left to do.

    For a door whose caller must see the effect. Returns whether all is done. If
    one is parked, or the deadline (time.monotonic()) passes, the worker goes on;
    no call to another system lasts beyond it. A database that comes back before is
    waited for.
    """
    while True:
        try:
            is_done = _run_for(organization_id, deadline)
        except DATABASE_DOWN as error:
            if time.monotonic() >= deadline:
                raise
            logger.warning("The database failed and is waited for: %s", error)
            close_old_connections()
            time.sleep(TROUBLE_PAUSE)
            continue
        if is_done is not None:
            return is_done


def _run_for(organization_id, deadline):
    """Take one turn; return what run_for() returns, or None to go on."""
    if time.monotonic() < deadline:
        with until(deadline):
            if run_one(organization_id=organization_id) is not None:
                return None
    orders = WorkOrder.objects.filter(organization_id=organization_id)
    states = set(orders.values_list("state", flat=True))
    if WorkOrder.State.PARKED in states:
        return False
    if WorkOrder.State.DUE not in states:
        return True
    if time.monotonic() >= deadline:
        return False
    time.sleep(POLL_INTERVAL)
    return None


def claim(*, organization_id=None):
    """Lease the next order that is due, so that nobody else runs it meanwhile."""
    now = timezone.now()
    orders = WorkOrder.objects.claimable(now)
    if organization_id is not None:
        orders = orders.filter(organization_id=organization_id)
    for order in orders.order_by("-urgent", "due_at", "id")[:20]:
        # The fence that was read must still stand: of two that saw the same
        # row, one updates it and the other goes on to the next.
        mine = orders.filter(pk=order.pk, fence=order.fence)
        if mine.update(leased_until=now + LEASE, fence=order.fence + 1):
            order.refresh_from_db()
            return order
    return None


def _run(order):
    # What the handler records belongs to the request that owed the work.
    token = trace_parent.set(order.trace_parent)
    try:
        _run_in_its_trace(order)
    finally:
        trace_parent.reset(token)


def _run_in_its_trace(order):
    try:
        with timed_work(order.destination):
            HANDLERS[order.destination](order.object_id)
    except NotYet:
        _postpone(order, seconds=WAIT, attempts=order.attempts)
    except Unavailable as error:
        _retry(order, str(error), error.code)
    except DomainError as error:
        logger.error("Work order %s is parked: %s", order, error)
        _close(
            order,
            state=WorkOrder.State.PARKED,
            error=str(error),
            error_code=error.code,
        )
    except Exception as error:
        # A bug of ours, or a system that answers nonsense. Its text could hold
        # anything, so the row keeps only the kind; the log has the trace.
        logger.exception("Work order %s failed.", order)
        sentence = f"Unexpected {type(error).__name__}; see the log."
        _retry(order, sentence, "internal_error")
    else:
        now = timezone.now()
        _close(
            order,
            state=WorkOrder.State.DONE,
            error="",
            error_code="",
            finished_at=now,
        )
        # Whatever waits for this one need not wait any longer; and what failed may
        # have failed for the same reason, which is gone.
        WorkOrder.objects.filter(
            organization_id=order.organization_id, state=WorkOrder.State.DUE
        ).update(due_at=now)


def _close(order, **changes):
    """Close the order, unless it was asked for anew, or taken by somebody else."""
    held = WorkOrder.objects.filter(pk=order.pk, fence=order.fence)
    if held.filter(generation=order.generation).update(leased_until=None, **changes):
        return
    if held.update(leased_until=None):  # asked for anew: it is due already
        return
    # The lease was lost and another holder has run meanwhile. This late call may
    # have put an older state over a newer one, so the truth is applied again.
    logger.warning("Work order %s outlived its lease and is run again.", order)
    WorkOrder.objects.filter(pk=order.pk).update(
        generation=F("generation") + 1,
        state=WorkOrder.State.DUE,
        due_at=timezone.now(),
    )


def _retry(order, error, error_code):
    attempts = order.attempts + 1
    pause = min(2 ** min(attempts, 16) * 0.25, LONGEST_PAUSE)
    pause *= random.uniform(0.8, 1.2)  # noqa: S311  spreads retries, no secret
    logger.warning("Work order %s: try %d failed: %s", order, attempts, error)
    _postpone(
        order, seconds=pause, attempts=attempts, error=error, error_code=error_code
    )


def _postpone(order, *, seconds, **changes):
    due_at = timezone.now() + timedelta(seconds=seconds)
    held = WorkOrder.objects.filter(pk=order.pk, fence=order.fence)
    held.filter(generation=order.generation).update(due_at=due_at, **changes)
    held.update(leased_until=None)
