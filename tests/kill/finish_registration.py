"""What follows a crash: the lease ends, and whoever runs next goes on."""

import json
import os
import sys
import time

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orgmanager.settings")
django.setup()

from django.utils import timezone  # noqa: E402

from organizations import registration  # noqa: E402
from organizations.models import (  # noqa: E402  # noqa: E402
    Installation,
    Membership,
    Organization,
    Registration,
    User,
)
from orgmanager.authorization import authorization  # noqa: E402
from orgmanager.identity import identity  # noqa: E402
from orgmanager.outbox import work  # noqa: E402
from orgmanager.outbox.models import Event, WorkOrder  # noqa: E402
from tests.kill.crashing_register import ADMIN, PASSWORD  # noqa: E402


def finish(token):
    """Let the worker go on; without a claim, send the same request again."""
    if not Registration.objects.exists():
        registration.register(token=token, admin=ADMIN, password=PASSWORD, actor="test")
    WorkOrder.objects.update(leased_until=None, due_at=timezone.now())
    deadline = time.monotonic() + 30
    while WorkOrder.objects.unfinished().exists() and time.monotonic() < deadline:
        if work.run_one() is None:
            time.sleep(0.05)


def end_state():
    """Return what there is, in words that are the same after every run."""
    organization = Organization.objects.get()
    user = User.objects.get()
    marker = Installation.objects.marker()
    realms = (str(organization.pk), "00000002-0002-4002-8002-000000000002")
    return {
        "organization": [organization.code, organization.status],
        "registration": Registration.objects.get().state,
        "credential_kept": Registration.objects.get().credential is not None,
        "admin": [user.email, user.status],
        "roles": list(Membership.objects.values_list("role", flat=True)),
        "realms_ours": [
            identity.find_realm(each)["marker"] == marker for each in realms
        ],
        "granted": authorization.check(
            "orgmanager/organization", realms[0], "org_edit", str(user.pk)
        ),
        "created_events": Event.objects.filter(type="organization.created").count(),
        "unfinished": WorkOrder.objects.unfinished().count(),
    }


if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        finish(file.read().strip())
    sys.stdout.write(json.dumps(end_state()))
