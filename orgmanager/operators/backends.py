"""
How operators prove who they are: by a password here, or by an identity provider.

mozilla-django-oidc leads through the code flow, with state, nonce and PKCE. What it
does not check, or looks up by e-mail address, is replaced here: by itself it accepts
any issuer and any audience.
"""

import logging
import re

from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.crypto import constant_time_compare
from django.views.decorators.debug import sensitive_variables
from mozilla_django_oidc.auth import OIDCAuthenticationBackend

from ..authentication import Refused, read_claims, realm_roles
from . import admission, operations
from .exceptions import SignInRefused
from .models import Operator
from .provider import BEGIN_AGAIN

logger = logging.getLogger(__name__)

ID_TOKEN_CLAIMS = ["exp", "iat", "iss", "sub", "aud", "nonce"]
ACCESS_TOKEN_CLAIMS = ["exp", "iat", "iss", "sub", "azp"]
_SUBJECT = re.compile(r"[\x21-\x7e]{1,255}")  # OpenID Connect Core section 2
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


class PasswordBackend(ModelBackend):
    """Knows local operators alone: whoever has a provider has no password here."""

    def user_can_authenticate(self, user):
        return super().user_can_authenticate(user) and not user.issuer


class ProviderBackend(OIDCAuthenticationBackend):
    """
    Signs in whom the identity provider vouches for, if they may operate.

    They are known by (issuer, subject); their e-mail address is only shown.

    Raises: SignInRefused and Unavailable, with the sentence for the person.
    Source: OpenID Connect Core 1.0 section 3.1.3.7; mozilla-django-oidc issue 340.
    """

    def __init__(self):
        """Read no settings: who the provider is depends on what is registered."""

    @sensitive_variables()
    def authenticate(self, request, nonce=None, code_verifier=None, **credentials):
        if not (nonce and code_verifier):  # a password, even with ?code= on its page
            return None
        self.provider = admission.find_provider()
        if self.provider is None:
            raise SignInRefused(
                "There is no identity provider to sign in with. Sign in as a local "
                "operator."
            )
        self.OIDC_RP_CLIENT_ID = self.provider.client_id
        self.OIDC_RP_CLIENT_SECRET = self.provider.client_secret
        return super().authenticate(request, nonce=nonce, code_verifier=code_verifier)

    @sensitive_variables()
    def get_token(self, payload):
        # It was made from the Host header, which says whatever its sender wants.
        form = payload | {"redirect_uri": self.provider.redirect_uri}
        if not self.provider.client_secret:
            del form["client_secret"]
        return self.provider.exchange(form)

    @sensitive_variables()
    def verify_token(self, token, nonce=None, **kwargs):
        """Return the claims of an ID token that was made for this very sign-in."""
        client = self.provider.client_id
        claims = self._read(token, ID_TOKEN_CLAIMS)
        audience = claims["aud"]
        audience = [audience] if isinstance(audience, str) else audience
        if not isinstance(audience, list) or client not in audience:
            self._refuse("the ID token is for another client")
        if (len(audience) > 1 or "azp" in claims) and claims.get("azp") != client:
            self._refuse("the ID token was issued to another client")
        if claims.get("typ", "ID") != "ID":  # Keycloak says of what kind a token is
            self._refuse("the ID token is none")
        if not constant_time_compare(str(claims["nonce"]), nonce):
            self._refuse("the ID token belongs to another sign-in (nonce)")
        if not _SUBJECT.fullmatch(claims["sub"]):
            self._refuse("the subject cannot be stored")
        return claims

    @sensitive_variables()
    def get_or_create_user(self, access_token, id_token, payload):
        subject, roles = payload["sub"], frozenset()
        if self.provider.role:
            roles = self._roles(access_token, subject)
        admission.check(self.provider, subject=subject, roles=roles)
        return operations.admit(
            issuer=payload["iss"],
            subject=subject,
            email=_email(payload),
            first_name=_text(payload, "given_name"),
            last_name=_text(payload, "family_name"),
        )

    def get_user(self, user_id):
        """Return who is signed in, if they still may be: asked at every request."""
        operator = Operator.objects.filter(pk=user_id).first()
        if operator is None or not self.user_can_authenticate(operator):
            return None
        return operator if admission.is_admitted(operator) else None

    @sensitive_variables()
    def _roles(self, token, subject):
        """Return the realm roles of ``subject``: Keycloak has them in access tokens."""
        claims = self._read(token, ACCESS_TOKEN_CLAIMS)
        if (claims["sub"], claims["azp"]) != (subject, self.provider.client_id):
            self._refuse("the access token is not of the ID token's person and client")
        return realm_roles(claims)

    @sensitive_variables()
    def _read(self, token, required):
        try:
            return read_claims(token, self.provider.realm, required=required)
        except Refused as refusal:
            self._refuse(f"{refusal.outcome}: {refusal}")

    def _refuse(self, reason):
        logger.warning("Sign-in with realm %s refused: %s", self.provider.realm, reason)
        raise SignInRefused(
            "The answer of the identity provider does not fit this sign-in, so nobody "
            f"was signed in. {BEGIN_AGAIN}"
        )


def _text(claims, name):
    """Return a claim as text that fits a column; names are no reason to refuse."""
    value = claims.get(name)
    return _UNPRINTABLE.sub("", value)[:150] if isinstance(value, str) else ""


def _email(claims):
    email = claims.get("email")
    try:
        validate_email(email)
    except ValidationError:
        return ""
    return email if len(email) <= 254 else ""
