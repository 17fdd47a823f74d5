import pytest
from django.urls import reverse

from organizations.models import User
from orgmanager.outbox.models import Delivery, Event, Stream, WorkOrder
from orgmanager.outbox.relay import block

from .conftest import said


@pytest.fixture
def user(make_organization, make_user):
    return make_user(make_organization())


@pytest.fixture
def blocked(make_organization):
    """A stream whose first event the broker refused."""
    organization = make_organization()
    stream = Stream.objects.get(
        organization_id=organization.pk, topic__contains="organization"
    )
    block(stream.pk, "The broker refused it: too large.")
    stream.refresh_from_db()
    return stream


@pytest.fixture
def parked(make_organization):
    organization = make_organization()
    orders = WorkOrder.objects.filter(
        organization_id=organization.pk, destination="users-realm"
    )
    orders.update(state="parked", error="Realm taken.")
    return orders.get()


def page_of(row):
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    return reverse(name, args=[row.pk])


def test_disable_user_asks_for_a_reason_and_keeps_it(press, user):
    assert press("disable_user", user, reason="left the team") == [
        ("success", f"{user.email} is disabled.")
    ]
    event = Event.objects.get(type="user.disabled")
    assert (event.actor, event.reason) == ("operator:olga", "left the team")


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501, "\0"])
def test_disable_user_without_a_good_reason_asks_again(console, user, reason):
    url = reverse("admin:organizations_user_disable_user", args=[user.pk])
    response = console.post(url, {"target": user.pk, "reason": reason})
    assert response.status_code == 200 and response.context["form"].errors["reason"]
    user.refresh_from_db()
    assert user.status == User.Status.ACTIVE


def test_disable_user_by_get_changes_nothing(console, user):
    url = reverse("admin:organizations_user_disable_user", args=[user.pk])
    assert "They lose everything" in console.get(url).content.decode()
    user.refresh_from_db()
    assert user.status == User.Status.ACTIVE


def test_disable_user_who_is_the_last_admin_is_refused_with_a_message(
    press, make_organization
):
    """Fails when a DomainError becomes a 500."""
    admin = make_organization().users.get()
    [(level, text)] = press("disable_user", admin, reason="because")
    assert level == "error" and "last active administrator" in text
    admin.refresh_from_db()
    assert admin.status == User.Status.ACTIVE


def test_enable_user_gives_back_what_was_taken(press, user):
    press("disable_user", user, reason="holiday")
    assert press("enable_user", user, reason="back")[0][0] == "success"
    user.refresh_from_db()
    assert user.status == User.Status.ACTIVE


def test_only_the_action_that_makes_sense_is_offered(console, press, user):
    offered = console.get(page_of(user)).content.decode()
    assert "Disable user" in offered and "Enable user" not in offered
    press("disable_user", user, reason="because")
    offered = console.get(page_of(user)).content.decode()
    assert "Enable user" in offered and "Disable user" not in offered


def test_action_on_what_is_gone_leads_to_the_front_page(console, user):
    url = reverse("admin:organizations_user_disable_user", args=[user.pk])
    user.delete()
    response = console.get(url, follow=True)
    assert response.status_code == 200 and "doesn’t exist" in response.content.decode()


def test_action_needs_the_permission_to_change(client, django_user_model, user):
    reader = django_user_model.objects.create(username="rita", is_staff=True)
    client.force_login(reader)
    url = reverse("admin:organizations_user_disable_user", args=[user.pk])
    data = {"target": user.pk, "reason": "because"}
    assert client.post(url, data).status_code == 403


def test_action_needs_the_token_of_its_page(operator, user, client):
    """Fails when another site can press the buttons of this one."""
    client.handler.enforce_csrf_checks = True
    client.force_login(operator)
    url = reverse("admin:organizations_user_disable_user", args=[user.pk])
    data = {"target": user.pk, "reason": "because"}
    assert client.post(url, data).status_code == 403


def test_retry_work_sets_a_parked_order_going(press, parked):
    assert press("retry_work", parked)[0][0] == "success"
    parked.refresh_from_db()
    assert (parked.state, parked.error) == ("due", "")
    assert Event.objects.get(type="outbox.work_retried").actor == "operator:olga"


def test_retry_work_of_many_at_once_says_how_many(console, parked):
    orders = WorkOrder.objects.filter(organization_id=parked.organization_id)
    data = {"action": "retry_work", "_selected_action": [row.pk for row in orders]}
    response = console.post(reverse("admin:outbox_workorder_changelist"), data)
    assert said(response) == [("success", f"Done for {len(orders)} of {len(orders)}.")]
    parked.refresh_from_db()
    assert parked.state == "due"


def test_retry_delivery_sets_a_blocked_stream_going(press, blocked):
    assert press("retry_delivery", blocked)[0][0] == "success"
    blocked.refresh_from_db()
    assert blocked.blocked_at is None


def test_retry_delivery_of_many_tells_which_were_refused(console, blocked):
    Stream.objects.advance(blocked.organization_id, "other")
    streams = Stream.objects.exclude(topic="")
    data = {"action": "retry_delivery", "_selected_action": [row.pk for row in streams]}
    messages = said(console.post(reverse("admin:outbox_stream_changelist"), data))
    assert [level for level, _ in messages] == ["error", "success"]
    assert "Nothing is owed" in messages[0][1]


def test_skip_event_shows_which_event_and_why_before_it_does(console, blocked):
    url = reverse("admin:outbox_stream_skip_event", args=[blocked.pk])
    page = console.get(url).content.decode()
    assert "organization.created #1" in page and "too large" in page


def test_skip_event_gives_up_the_first_owed_event(press, blocked):
    assert press("skip_event", blocked, reason="never fits")[0][0] == "success"
    first = Delivery.objects.filter(stream=blocked).order_by("event_id").first()
    assert first.skip_reason == "never fits"
    assert Event.objects.get(type="outbox.event_skipped").actor == "operator:olga"


def test_skip_event_does_not_take_another_than_the_one_shown(console, blocked):
    """Fails when the target of the form is not compared: two operators at once."""
    url = reverse("admin:outbox_stream_skip_event", args=[blocked.pk])
    data = {"target": "00000000-0000-0000-0000-000000000000", "reason": "never fits"}
    [(level, text)] = said(console.post(url, data))
    assert level == "error" and "nothing was done" in text
    assert not Delivery.objects.exclude(skip_reason="").exists()


def test_skip_event_of_a_stream_that_is_not_blocked_is_refused(console, press, blocked):
    Stream.objects.filter(pk=blocked.pk).update(blocked_at=None)
    [(level, text)] = press("skip_event", blocked, reason="because")
    assert level == "error" and "not blocked" in text


def test_retry_delivery_of_what_was_delivered_meanwhile_is_refused(press, blocked):
    Delivery.objects.all().delete()
    [(level, text)] = press("retry_delivery", blocked)
    assert level == "error" and "Nothing is owed" in text
