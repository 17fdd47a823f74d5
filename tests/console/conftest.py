"""An operator who has signed in, and the actions they can press."""

import pytest
from django.contrib.messages import get_messages
from django.urls import reverse

from orgmanager.operators import operations as operators


@pytest.fixture
def operator(db, settings):
    """An operator with a local password, hashed in no time."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    return operators.create(
        username="olga", password="Correct-Horse-7-Battery", actor="test"
    )


@pytest.fixture
def console(client, operator):
    """The browser of an operator who has signed in."""
    client.force_login(operator)
    return client


@pytest.fixture
def press(console):
    """
    Return a function that presses the button of an action and says yes.

    It returns what the console then says: [(level, text)].
    """

    def press(action, row, **answers):
        name = f"admin:{row._meta.app_label}_{row._meta.model_name}_{action}"
        url = reverse(name, args=[row.pk])
        page = console.get(url)
        if page.status_code == 302:
            return said(page)
        target = page.context["form"]["target"].value()
        return said(console.post(url, {"target": target, **answers}))

    return press


def said(response):
    """Return the messages that ``response`` left: [(level, text)]."""
    messages = get_messages(response.wsgi_request)
    return [(message.level_tag, message.message) for message in messages]
