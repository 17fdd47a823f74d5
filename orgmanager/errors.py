"""What can go wrong, by meaning; doors decide how each meaning is shown."""

from django.db import InterfaceError, OperationalError
from psycopg_pool import PoolTimeout

# What fails because of the database's state, so that trying again may help. Other
# database errors are bugs of ours.
DATABASE_DOWN = (OperationalError, InterfaceError, PoolTimeout)


class DomainError(Exception):
    """
    A refusal with one sentence for people and a stable ``code`` for programs.

    The sentence says what was refused, where, and what is possible instead.
    ``errors`` optionally lists refused fields.

    Shapes: ``errors``: [{"pointer": "/admin/email", "detail": str, "code": str}].
    """

    code = "refused"
    errors = ()

    def __init__(self, message, *, errors=()):
        super().__init__(message)
        self.errors = list(errors)


class Invalid(DomainError):
    """The input is wrong; sending it again will not help."""

    code = "invalid"


class Unauthenticated(DomainError):
    """The caller did not prove who they are."""

    code = "not_authenticated"


class Forbidden(DomainError):
    """The caller is known and may not do this."""

    code = "permission_denied"


class Missing(DomainError):
    """What was asked for does not exist, or not for this caller."""

    code = "not_found"


class Conflict(DomainError):
    """The input is fine, but not in the present state."""

    code = "conflict"


class TooLarge(DomainError):
    """The input is larger than can be handled."""

    code = "too_large"


class Rejected(DomainError):
    """Another system refused; trying again will not help."""

    code = "rejected"


class Unavailable(DomainError):
    """Another system did not answer; trying again may help."""

    code = "unavailable"
    retry_after = 5  # seconds
