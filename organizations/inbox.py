"""What the licence service tells us, from the topic of its events."""

from django.conf import settings

from orgmanager.licence_server import licence_server
from orgmanager.outbox import inbox

from . import operations


def receive_licence(message):
    """
    Sync the licence that ``message`` carries as a signed token.

    Raises: InvalidLicence; OrganizationNotFound; LicenceMismatch.
    """
    token = (message.value or b"").decode("utf-8", "replace").strip().strip('"')
    licence = licence_server.read_licence(token)
    operations.sync_licence(
        licence.organization_id, licence, source="inbox", actor="licence-server"
    )


def register():
    """Let receive_licence deal with the topic of the licence service."""
    inbox.register(settings.TOPICS["licence_events"], receive_licence)
