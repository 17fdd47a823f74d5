"""What an authorization engine can do, and what none of them accepts."""

import re
from typing import NamedTuple

from ...errors import Rejected, Unavailable
from ..schema import INHERITED, PERMISSIONS, RELATIONS, USER

MAX_UPDATES = 1_000  # per write, SpiceDB's own limit

_ID = re.compile(r"[a-zA-Z0-9/_|\-=+]{1,1024}")  # SpiceDB's own rule


class Relationship(NamedTuple):
    """
    The subject has ``relation`` on the resource.

    With ``subject_relation`` the subject is not the object itself but everybody
    who has that relation on it.
    """

    resource_type: str
    resource_id: str
    relation: str
    subject_type: str
    subject_id: str
    subject_relation: str = ""

    def __str__(self):
        subject = f"{self.subject_type}:{self.subject_id}"
        if self.subject_relation:
            subject += f"#{self.subject_relation}"
        return f"{self.resource_type}:{self.resource_id}#{self.relation}@{subject}"


class SchemaMissing(Unavailable):
    """
    The engine does not know our definitions: ensure_schema() comes first.

    Trying again helps, for the worker applies the schema when it starts.
    """

    code = "authorization_schema_missing"


class BaseAuthorization:
    """
    Interface of an authorization engine.

    Every method is idempotent. What an engine cannot know is refused before it
    is asked: an unknown type, relation or permission, an id that is not 1 to
    1024 characters of ``a-z A-Z 0-9 / _ | - = +``.

    Raises: Unavailable when trying again may help; Rejected when it will not;
    SchemaMissing before ensure_schema().
    """

    def ensure_schema(self):
        """
        Bring the engine to the schema of this version.

        Two at once must not run: hold a lock. Raises: Rejected when stored
        relationships need what the new schema no longer has.
        """
        raise NotImplementedError

    def check(self, resource_type, resource_id, permission, subject_id):
        """
        Say whether user ``subject_id`` has ``permission`` on the object.

        The answer takes every earlier write into account, whoever made it.
        """
        raise NotImplementedError

    def write(self, *, touch=(), delete=()):
        """
        Store the relationships of ``touch`` and remove those of ``delete``.

        All or nothing, durable on return. Raises: Rejected for more than
        MAX_UPDATES, or the same relationship twice.
        """
        raise NotImplementedError

    def read(self, resource_type, resource_id):
        """Return the set of relationships on the object."""
        raise NotImplementedError

    def ping(self):
        """Return None if the engine answers and takes us; raise Unavailable else."""
        raise NotImplementedError

    def replace(self, resource_type, resource_id, relationships):
        """
        Leave exactly ``relationships`` on the object.

        Past MAX_UPDATES differences it takes several writes, removals first:
        a crash in between leaves somebody with too little, never with too much.
        """
        wanted = set(relationships)
        for relationship in wanted:
            if relationship[:2] != (resource_type, resource_id):
                raise Rejected(f"{relationship} is not on {resource_type}.")
        present = self.read(resource_type, resource_id)
        gone = [(True, each) for each in sorted(present - wanted)]
        new = [(False, each) for each in sorted(wanted - present)]
        updates = gone + new
        for start in range(0, len(updates), MAX_UPDATES):
            batch = updates[start : start + MAX_UPDATES]
            self.write(
                touch=[each for is_gone, each in batch if not is_gone],
                delete=[each for is_gone, each in batch if is_gone],
            )


def check_object(object_type, object_id):
    """Refuse an object that no engine could know. Raises: Rejected."""
    if object_type not in RELATIONS:
        known = ", ".join(RELATIONS)
        raise Rejected(f"{object_type!r} is not an object type. Known: {known}.")
    if not isinstance(object_id, str) or not _ID.fullmatch(object_id):
        raise Rejected(
            f"{object_id!r:.80} is not an object id: a string of 1 to 1024 of "
            "a-z A-Z 0-9 / _ | - = + is."
        )


def check_question(resource_type, resource_id, permission, subject_id):
    """Refuse a question that no engine could answer. Raises: Rejected."""
    check_object(resource_type, resource_id)
    check_object(USER, subject_id)
    known = (RELATIONS, INHERITED, PERMISSIONS)
    if not any(permission in names[resource_type] for names in known):
        raise Rejected(f"{permission!r} is not a permission on {resource_type}.")


def check_updates(touch, delete):
    """Refuse a write that no engine could take. Raises: Rejected."""
    updates = [*touch, *delete]
    if len(updates) > MAX_UPDATES:
        raise Rejected(
            f"{len(updates)} updates in one write; {MAX_UPDATES} are the limit."
        )
    seen = set()
    for update in updates:
        check_relationship(update)
        if update in seen:
            raise Rejected(f"{update} stands twice in one write.")
        seen.add(update)


def check_relationship(relationship):
    """Refuse a relationship that the schema has no place for. Raises: Rejected."""
    each = Relationship(*relationship)
    check_object(each.resource_type, each.resource_id)
    check_object(each.subject_type, each.subject_id)
    allowed = RELATIONS[each.resource_type].get(each.relation)
    if allowed is None:
        raise Rejected(f"{each.relation!r} is not a relation of {each.resource_type}.")
    kind = each.subject_type
    if each.subject_relation:
        kind += f"#{each.subject_relation}"
    if kind not in allowed:
        raise Rejected(
            f"{kind} cannot be {each.relation} of {each.resource_type}. "
            f"Possible: {', '.join(allowed)}."
        )
