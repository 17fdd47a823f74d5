import time
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from orgmanager.deadlines import seconds_left, until
from orgmanager.errors import Rejected, Unavailable
from orgmanager.outbox import operations, work
from orgmanager.outbox.exceptions import OrderNotFound
from orgmanager.outbox.models import Event, WorkOrder

ORGANIZATION = uuid.uuid4()


@pytest.fixture
def serve(db):
    """Let functions serve made-up destinations, until the test ends."""
    served = []

    def serve(destination, handler):
        work.register(destination, handler)
        served.append(destination)

    yield serve
    for destination in served:
        del work.HANDLERS[destination]


def enqueue(destination="thing", object_id="1", **options):
    WorkOrder.objects.enqueue(
        destination, object_id, organization_id=ORGANIZATION, **options
    )
    return WorkOrder.objects.get(destination=destination, object_id=object_id)


def make_due():
    WorkOrder.objects.update(due_at=timezone.now())


def test_run_one_calls_the_handler_and_closes_the_order(serve):
    calls = []
    serve("thing", calls.append)
    order = enqueue()
    assert work.run_one() is not None
    order.refresh_from_db()
    assert calls == ["1"] and order.state == "done" and order.finished_at
    assert work.run_one() is None


def test_enqueue_again_before_the_run_is_one_run(serve):
    calls = []
    serve("thing", calls.append)
    enqueue()
    enqueue()
    work.run_one()
    assert work.run_one() is None and calls == ["1"]


def test_enqueue_during_the_run_runs_again(serve):
    """Fails when _close() forgets to compare the generation."""
    calls = []

    def handler(object_id):
        calls.append(object_id)
        if len(calls) == 1:
            enqueue()

    serve("thing", handler)
    enqueue()
    while work.run_one():
        pass
    assert len(calls) == 2


def test_unavailable_is_tried_again_later_with_the_reason_shown(serve):
    def handler(object_id):
        raise Unavailable("Keycloak did not answer.")

    serve("thing", handler)
    order = enqueue()
    work.run_one()
    order.refresh_from_db()
    assert order.state == "due" and order.attempts == 1
    assert order.error == "Keycloak did not answer." and order.due_at > timezone.now()
    assert work.run_one() is None


def test_rejected_parks_that_object_alone(serve):
    def handler(object_id):
        if object_id == "bad":
            raise Rejected("The realm is not ours.")

    serve("thing", handler)
    bad, good = enqueue(object_id="bad"), enqueue(object_id="good")
    while work.run_one():
        pass
    bad.refresh_from_db()
    good.refresh_from_db()
    assert (bad.state, good.state) == ("parked", "done")
    assert bad.error_code == "rejected"


def test_a_bug_is_tried_again_and_its_text_is_not_kept(serve):
    def handler(object_id):
        raise ValueError("canary-secret")

    serve("thing", handler)
    order = enqueue()
    work.run_one()
    order.refresh_from_db()
    assert order.state == "due" and "ValueError" in order.error
    assert "canary" not in order.error


def test_a_leased_order_is_nobody_elses_until_the_lease_ends(serve):
    serve("thing", lambda object_id: None)
    order = enqueue()
    assert work.claim() is not None
    assert work.claim() is None
    past = timezone.now() - timedelta(seconds=1)
    WorkOrder.objects.filter(pk=order.pk).update(leased_until=past)
    assert work.claim() is not None


def test_a_holder_that_outlived_its_lease_runs_the_truth_again(serve):
    """Fails when a late call's older state is left standing."""
    calls = []

    def handler(object_id):
        calls.append(object_id)
        if len(calls) == 1:  # frozen here; meanwhile another one takes the order
            past = timezone.now() - timedelta(seconds=1)
            WorkOrder.objects.update(leased_until=past)
            work.run_one()

    serve("thing", handler)
    order = enqueue()
    work.run_one()
    order.refresh_from_db()
    assert order.state == "due"
    work.run_one()
    order.refresh_from_db()
    assert len(calls) == 3 and order.state == "done"


def test_urgent_orders_go_first(serve):
    calls = []
    serve("thing", calls.append)
    enqueue(object_id="slow")
    enqueue(object_id="suspension", urgent=True)
    work.run_one()
    assert calls == ["suspension"]


def test_an_order_that_waits_for_another_is_no_failure(serve):
    def waits(object_id):
        others = WorkOrder.objects.unfinished().exclude(destination="last")
        if others.exists():
            raise work.NotYet

    serve("last", waits)
    serve("thing", lambda object_id: None)
    last = enqueue("last")
    enqueue("thing")
    assert work.run_for(ORGANIZATION, deadline=time.monotonic() + 5)
    last.refresh_from_db()
    assert last.state == "done" and last.attempts == 0 and last.error == ""


def test_an_order_that_failed_is_tried_at_once_when_another_has_succeeded(serve):
    """Fails when the second realm waits a minute although the first one stands."""
    calls = []

    def fail_once(object_id):
        calls.append(object_id)
        if len(calls) == 1:
            raise Unavailable("Keycloak is away.")

    serve("first", fail_once)
    serve("second", lambda object_id: None)
    enqueue("first")
    enqueue("second")
    WorkOrder.objects.filter(destination="first").update(attempts=20)
    for _ in range(3):
        assert work.run_one() is not None
    assert calls == ["1", "1"]


def test_run_for_stops_at_a_parked_order(serve):
    def handler(object_id):
        raise Rejected("no")

    serve("thing", handler)
    enqueue()
    assert not work.run_for(ORGANIZATION, deadline=time.monotonic() + 5)


def test_run_for_begins_nothing_after_its_deadline(serve):
    calls = []
    serve("thing", calls.append)
    enqueue()
    assert not work.run_for(ORGANIZATION, deadline=time.monotonic())
    assert not calls


def test_run_for_cuts_a_call_that_would_last_beyond_its_deadline(serve):
    limits = []
    serve("thing", lambda object_id: limits.append(seconds_left(15)))
    enqueue()
    assert work.run_for(ORGANIZATION, deadline=time.monotonic() + 2)
    assert 0 < limits[0] <= 2
    assert seconds_left(15) == 15


def test_a_call_after_the_deadline_is_not_made():
    with until(time.monotonic()), pytest.raises(Unavailable, match="worker goes on"):
        seconds_left(15)


def test_retry_work_sets_a_parked_order_going(serve):
    refuse = [True]

    def handler(object_id):
        if refuse:
            raise Rejected("no")

    serve("thing", handler)
    order = enqueue()
    work.run_one()
    refuse.clear()
    operations.retry_work(order.pk, actor="olga")
    work.run_one()
    order.refresh_from_db()
    assert order.state == "done"
    assert Event.objects.get().type == "outbox.work_retried"


def test_retry_work_that_is_done_records_nothing(serve):
    serve("thing", lambda object_id: None)
    order = enqueue()
    work.run_one()
    operations.retry_work(order.pk, actor="olga")
    assert not Event.objects.exists()


def test_retry_work_of_no_order_is_refused(db):
    with pytest.raises(OrderNotFound):
        operations.retry_work(123456, actor="olga")


def test_prune_keeps_what_is_owed_or_parked(serve):
    serve("thing", lambda object_id: None)
    enqueue(object_id="done")
    work.run_one()
    enqueue(object_id="due")
    later = timezone.now() + timedelta(days=1)
    orders, _ = operations.prune(work_before=later, events_before=later)
    assert orders == 1
    assert WorkOrder.objects.get().object_id == "due"
