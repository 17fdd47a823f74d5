"""
Who may operate this installation, and which identity provider says who they are.

With a realm of operators: its users that have the role FLOWX_OPERATOR there. Without
one, on premises: the administrators of the organization, as the app that owns
organizations knows them (settings.ADMINS_REALM and ADMINS_LOOKUP name its functions).
"""

from django.conf import settings
from django.utils.module_loading import import_string

from ..authentication import OPERATOR_ROLE
from ..identity import addresses
from ..identity.template import ADMIN_ROLE, CONSOLE_CLIENT
from .exceptions import SignInRefused
from .provider import Provider


def find_provider():
    """
    Return the Provider that operators sign in with now, or None.

    There is none while nothing is registered; with local realms, which have no page
    to sign in on; and where realms are made by hand, unless one is for operators.
    """
    if ".backends.local." in settings.IDENTITY["BACKEND"]:
        return None
    if settings.OPERATOR_REALM:
        return Provider(
            settings.OPERATOR_REALM,
            settings.OPERATOR_CLIENT_ID,
            settings.OPERATOR_CLIENT_SECRET,
            OPERATOR_ROLE,
        )
    if settings.IDENTITY_PROVISIONING == "none":
        return None
    realm = import_string(settings.ADMINS_REALM)()
    return Provider(realm, CONSOLE_CLIENT) if realm else None


def check(provider, *, subject, roles):
    """
    Refuse whom ``provider`` knows and who may not operate.

    Shapes: ``roles``: the realm roles in the access token, if the provider's count.
    Raises: SignInRefused.
    """
    if provider.role:
        if provider.role not in roles:
            raise SignInRefused(
                f"Your account has no role {provider.role} in realm {provider.realm}, "
                "so you may not operate this installation. Ask whoever administers "
                "that realm, or sign in as somebody else.",
                asks_anew=True,
            )
    elif not _is_admin(provider.realm, subject):
        raise SignInRefused(
            f"Your account is no active administrator ({ADMIN_ROLE}) of the "
            "organization, so you may not operate this installation. Ask an "
            "administrator, or sign in as somebody else.",
            asks_anew=True,
        )


def is_admitted(operator):
    """
    Say whether somebody who signed in may go on; asked at every request.

    An administrator who is one no more is found out at once. Roles of the operators'
    realm are not in our database: they hold until the console asks to sign in again.
    """
    if settings.OPERATOR_REALM:
        return operator.issuer == addresses.issuer(settings.OPERATOR_REALM)
    realm = addresses.realm_of(operator.issuer)
    return realm is not None and _is_admin(realm, operator.subject)


def _is_admin(realm, subject):
    return import_string(settings.ADMINS_LOOKUP)(realm, subject)
