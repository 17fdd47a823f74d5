"""What an identity provider can do, and whose a realm is."""

from ...errors import Rejected
from ..addresses import checked_realm
from ..exceptions import RealmConflict
from ..template import MARKER


class BaseIdentity:
    """
    Interface of an identity provider.

    Every method is idempotent: a repeated call leaves the same state and returns
    the same value, because whoever calls does so again after a crash. A realm is
    ours when its attribute ``orgmanager.marker`` is the marker that was asked for.

    Raises: Unavailable when retrying may help (timeout, 5xx, no connection) and it
    is not known whether the call took effect; Rejected when it will not help, and
    nothing changed. Nothing else, except RealmConflict where it is named.
    """

    def ensure_realm(self, representation):
        """
        Create the realm of ``representation`` with everything in it, or nothing.

        A realm of that name with the same marker is left as it is, whatever has
        been changed in it since.

        Shapes: a Keycloak realm representation with ``realm`` and
        ``attributes["orgmanager.marker"]``; see identity/template.py.
        Raises: RealmConflict when a realm of that name has another marker or none;
        Rejected, also when two things in the representation contradict each other.
        """
        raise NotImplementedError

    def set_realm_enabled(self, name, enabled):
        """
        Allow or refuse every sign-in of realm ``name``; sessions end when refused.

        Its public keys stay readable: tokens that are out are valid until they
        expire. Raises: Rejected when there is no such realm.
        """
        raise NotImplementedError

    def delete_realm(self, name, marker):
        """
        Delete realm ``name`` with all its users; one that is not there is fine.

        Raises: RealmConflict when its marker is not ``marker``.
        """
        raise NotImplementedError

    def find_realm(self, name):
        """Return {"enabled": bool, "marker": str | None}, or None if there is none."""
        raise NotImplementedError

    def client_secret(self, realm, client_id):
        """
        Return the secret of a confidential client.

        Raises: Rejected when there is no such realm or client, or it has no secret.
        """
        raise NotImplementedError

    def jwks(self, realm):
        """
        Return the public keys of ``realm``, of a disabled one too.

        Shapes: {"keys": [{"kid": str, "kty": str, "use": str, ...}]}.
        Raises: Rejected when there is no such realm.
        Source: RFC 7517.
        """
        raise NotImplementedError

    def ping(self):
        """Return None if the provider answers; raise Unavailable otherwise."""
        raise NotImplementedError


def identify(representation):
    """Return (name, marker). Raises: Rejected."""
    try:
        name = checked_realm(representation["realm"])
        marker = representation["attributes"][MARKER]
    except (KeyError, TypeError) as error:
        raise Rejected(f"Realm refused: no name, or no attribute {MARKER}.") from error
    if not isinstance(marker, str) or not marker:
        raise Rejected(f"Realm refused: attribute {MARKER} is empty.")
    return name, marker


def refuse_foreign(name, found, marker):
    """Refuse a realm whose marker is not ``marker``. Raises: RealmConflict."""
    if found != marker:
        raise RealmConflict(
            f"Realm {name} exists and does not carry our marker; it was not touched. "
            "Remove it by hand if nothing needs it, or adopt it."
        )
