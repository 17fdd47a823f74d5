"""Refusals of an identity provider that a caller can act on."""

from ..errors import Conflict


class RealmConflict(Conflict):
    """A realm of that name exists and is not ours; it was not touched."""

    code = "realm_conflict"
