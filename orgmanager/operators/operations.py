"""Everything that can be done to an operator account, one function per verb."""

import logging
import secrets

from django.contrib.auth.password_validation import validate_password
from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from ..errors import Conflict
from .models import Operator

logger = logging.getLogger(__name__)


class UsernameTaken(Conflict):
    code = "username_taken"


@sensitive_variables("password")
@transaction.atomic
def create(*, username, password, actor):
    """
    Create a local operator with all console rights.

    For the first sign-in and for the day the identity provider is down.

    Raises: ValidationError for a weak password or malformed name; UsernameTaken.
    """
    operator = Operator(username=username, is_staff=True, is_superuser=True)
    validate_password(password, operator)
    operator.set_password(password)
    operator.full_clean(validate_unique=False, validate_constraints=False)
    if Operator.objects.filter(username=username).exists():
        raise UsernameTaken(
            f"An operator named {username!r} exists. Choose another name, or set "
            f"a new password with: manage.py changepassword {username}"
        )
    operator.save(force_insert=True)
    logger.warning("Local operator %r was created by %s.", username, actor)
    return operator


def ensure_first(*, username, actor):
    """
    Create ``username`` with a made-up password if there is no operator at all.

    Shapes: the password, to be shown once; None if somebody can sign in already.
    """
    if Operator.objects.exists():
        return None
    password = secrets.token_urlsafe(12)
    create(username=username, password=password, actor=actor)
    return password
