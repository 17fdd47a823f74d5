"""Which realms are ours: those that carry the marker of this installation."""

from ...errors import Rejected
from ..addresses import checked_realm
from ..exceptions import RealmConflict
from ..template import MARKER


def identify(representation):
    """Return (name, marker) of a realm that is to be ours. Raises: Rejected."""
    try:
        name = checked_realm(representation["realm"])
        marker = representation["attributes"][MARKER]
    except (KeyError, TypeError) as error:
        raise Rejected(f"Realm refused: no name, or no attribute {MARKER}.") from error
    if not isinstance(marker, str) or not marker:
        raise Rejected(f"Realm refused: attribute {MARKER} is empty.")
    return name, marker


def refuse_foreign(name, found, marker):
    """Raise RealmConflict unless the marker that was found is ours."""
    if found != marker:
        raise RealmConflict(
            f"Realm {name} exists and does not carry our marker; it was not touched. "
            "Remove it by hand if nothing needs it, or adopt it."
        )


def no_realm(name):
    """Return the refusal of whatever needs realm ``name`` to be there."""
    return Rejected(f"There is no realm {name}.")
