"""Everything that can be done to an operator account, one function per verb."""

import logging
import secrets
import uuid

from django.contrib.auth.hashers import make_password
from django.contrib.auth.password_validation import validate_password
from django.db import transaction
from django.views.decorators.debug import sensitive_variables

from .exceptions import (
    OperatorNotFound,
    OwnAccount,
    SignInRefused,
    UsernameTaken,
)
from .models import Operator

logger = logging.getLogger(__name__)


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


@transaction.atomic
def admit(*, issuer, subject, email, first_name, last_name):
    """
    Return the operator whom an identity provider vouches for, made if need be.

    (issuer, subject) says who it is; the rest is shown to people, and follows what
    the provider says. That they may operate has been found out before.

    Raises: SignInRefused for an account that was deactivated here.
    """
    person = {"email": email, "first_name": first_name, "last_name": last_name}
    pk = uuid.uuid4()
    operator, is_new = Operator.objects.get_or_create(
        issuer=issuer,
        subject=subject,
        defaults={
            "pk": pk,
            "username": str(pk),
            "password": make_password(None),
            "is_staff": True,
            "is_superuser": True,
            **person,
        },
    )
    if is_new:
        logger.warning("Operator %s, subject %s, was created.", operator.pk, subject)
        return operator
    operator = _lock(operator.pk)
    if not operator.is_active:
        raise SignInRefused(
            "Your operator account was deactivated in this console. Another operator "
            "can activate it again."
        )
    for field, value in person.items():
        setattr(operator, field, value)
    operator.save(update_fields=list(person))
    return operator


@transaction.atomic
def deactivate(pk, *, actor):
    """
    Sign an operator out and let them in no more, whoever vouches for them.

    Deactivating the deactivated changes nothing.

    Raises: OperatorNotFound; OwnAccount, so that nobody locks themselves out.
    """
    operator = _lock(pk)
    if not operator.is_active:
        return operator
    if operator.actor == actor:
        raise OwnAccount("This is your own account. Ask another operator to do it.")
    operator.is_active = False
    operator.save(update_fields=["is_active"])
    logger.warning("Operator %s was deactivated by %s.", operator.username, actor)
    return operator


@transaction.atomic
def activate(pk, *, actor):
    """
    Let a deactivated operator sign in again. Activating the active changes nothing.

    Raises: OperatorNotFound.
    """
    operator = _lock(pk)
    if operator.is_active:
        return operator
    operator.is_active = True
    operator.save(update_fields=["is_active"])
    logger.warning("Operator %s was activated by %s.", operator.username, actor)
    return operator


def find(username):
    """Return the operator of that user name. Raises: OperatorNotFound."""
    operator = Operator.objects.filter(username=username).first()
    if operator is None:
        raise OperatorNotFound(
            f"There is no operator {username!r}. See: manage.py list_operators"
        )
    return operator


def _lock(pk):
    operator = Operator.objects.select_for_update().filter(pk=pk).first()
    if operator is None:
        raise OperatorNotFound(f"There is no operator {pk}.")
    return operator
