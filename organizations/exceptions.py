"""What this app refuses, one class per refusal."""

from orgmanager.errors import Conflict, Forbidden, Invalid, Missing


class TransitionNotAllowed(Conflict):
    code = "transition_not_allowed"


class OrganizationNotFound(Missing):
    code = "organization_not_found"


class UserNotFound(Missing):
    code = "user_not_found"


class PermissionDenied(Forbidden):
    code = "permission_denied"


class OrganizationSuspended(Forbidden):
    code = "organization_suspended"


class AlreadyRegistered(Conflict):
    code = "already_registered"


class RegistrationInProgress(Conflict):
    code = "registration_in_progress"


class RemovalInProgress(Conflict):
    """What an earlier registration made is not gone yet."""

    code = "removal_in_progress"


class RegistrationFailed(Conflict):
    """A step was refused for good; ``code`` is that refusal's own."""

    def __init__(self, message, *, code):
        super().__init__(message)
        self.code = code or "registration_failed"


class TokenUsed(Conflict):
    code = "token_used"


class NothingToCancel(Conflict):
    code = "nothing_to_cancel"


class ConfirmationMismatch(Invalid):
    code = "confirmation_mismatch"


class LastAdmin(Conflict):
    code = "last_admin"


class LicenceMismatch(Invalid):
    code = "licence_mismatch"
