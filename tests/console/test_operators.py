import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from orgmanager.operators import operations
from orgmanager.operators.models import Operator

from .conftest import said

PASSWORD = "Another-Horse-8-Battery"
ADD = "/admin/operators/operator/add/"


def test_add_operator_lets_them_sign_in(console, client):
    data = {"username": "otto", "password": PASSWORD, "password_again": PASSWORD}
    assert said(console.post(ADD, data)) == [("success", "otto can sign in now.")]
    otto = Operator.objects.get(username="otto")
    assert otto.check_password(PASSWORD) and otto.is_staff and otto.is_superuser


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"password_again": "something else"}, "differ"),
        ({"password": "short", "password_again": "short"}, "too short"),
        ({"username": "olga"}, "olga"),
        ({"username": "not a name!"}, "valid username"),
        ({"username": ""}, "required"),
        ({"password": "", "password_again": ""}, "required"),
    ],
)
def test_add_operator_with_a_mistake_says_which(console, changes, reason):
    data = {"username": "otto", "password": PASSWORD, "password_again": PASSWORD}
    response = console.post(ADD, data | changes)
    assert response.status_code == 200
    page = response.content.decode()
    assert reason in page and PASSWORD not in page
    assert not Operator.objects.filter(username="otto").exists()


def test_change_password_replaces_it_and_keeps_the_session(console, operator):
    url = reverse("admin:operators_operator_change_password", args=[operator.pk])
    data = {"new_password1": PASSWORD, "new_password2": PASSWORD}
    assert said(console.post(url, data))[0][0] == "success"
    operator.refresh_from_db()
    assert operator.check_password(PASSWORD)
    assert console.get("/admin/").status_code == 200


def test_change_password_to_a_weak_one_is_refused(console, operator):
    url = reverse("admin:operators_operator_change_password", args=[operator.pk])
    data = {"new_password1": "short", "new_password2": "short"}
    response = console.post(url, data)
    assert response.status_code == 200 and "too short" in response.content.decode()


def test_change_password_of_who_signs_in_elsewhere_is_refused(console):
    other = Operator.objects.create(username="ida", issuer="https://idp", subject="1")
    url = reverse("admin:operators_operator_change_password", args=[other.pk])
    [(level, text)] = said(console.get(url))
    assert level == "error" and "identity provider" in text
    page = console.get(reverse("admin:operators_operator_change", args=[other.pk]))
    offered = [action["path"] for action in page.context["actions_detail"]]
    assert offered == [
        reverse("admin:operators_operator_deactivate", args=[other.pk]),
    ]


def test_pages_of_operators_show_no_password_hash(console, operator):
    page = console.get(reverse("admin:operators_operator_change", args=[operator.pk]))
    assert operator.password not in page.content.decode()


def test_operators_are_not_changed_or_deleted_by_a_form(console, operator):
    change = reverse("admin:operators_operator_change", args=[operator.pk])
    assert console.post(change, {"is_superuser": "on"}).status_code == 403
    delete = reverse("admin:operators_operator_delete", args=[operator.pk])
    assert console.post(delete, {"post": "yes"}).status_code == 403


def test_groups_are_not_in_the_console():
    assert not admin.site.is_registered(Group)


@pytest.fixture
def otto(operator):
    return operations.create(username="otto", password=PASSWORD, actor="test")


def test_deactivate_signs_an_operator_out_and_activate_lets_them_in(press, otto):
    browser = Client()
    browser.force_login(otto)
    assert press("deactivate", otto) == [("success", "otto may not sign in any more.")]
    assert browser.get("/admin/").status_code == 302
    form = {"username": "otto", "password": PASSWORD}
    assert browser.post("/admin/login/", form).status_code == 200
    assert press("activate", otto)[-1] == ("success", "otto may sign in.")
    assert browser.post("/admin/login/", form).status_code == 302


def test_deactivate_oneself_is_refused(press, operator):
    [(level, text)] = press("deactivate", operator)
    assert level == "error" and "your own account" in text
    operator.refresh_from_db()
    assert operator.is_active


def test_commands_deactivate_and_activate_an_operator(otto, capsys):
    call_command("deactivate_operator", "otto")
    call_command("deactivate_operator", "otto")
    call_command("list_operators")
    assert "deactivated" in capsys.readouterr().out
    call_command("activate_operator", "otto")
    assert Operator.objects.get(username="otto").is_active


@pytest.mark.parametrize("command", ["activate_operator", "deactivate_operator"])
def test_commands_for_an_unknown_operator_say_where_to_look(db, command):
    with pytest.raises(CommandError, match="list_operators"):
        call_command(command, "nobody")


def test_list_operators_without_any_says_how_to_make_one(db, capsys):
    call_command("list_operators")
    assert "create_operator" in capsys.readouterr().out


def test_list_of_operators_says_who_signs_in_how(console):
    person = {"email": "", "first_name": "Ida", "last_name": "Ideal"}
    operations.admit(issuer="https://idp", subject="s-1", **person)
    page = console.get("/admin/operators/operator/").content.decode()
    assert "Ida Ideal" in page and "identity provider" in page and "password" in page
    page = console.get("/admin/operators/operator/?q=s-1").content.decode()
    assert "Ida Ideal" in page
