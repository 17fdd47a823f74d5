"""The identity provider that operators sign in with, and what we ask it."""

import logging
import re
from dataclasses import dataclass
from urllib.parse import urlencode

import requests
from django.conf import settings
from django.views.decorators.debug import sensitive_variables

from ..errors import Rejected, Unavailable
from ..http_calls import new_session, send, why
from ..identity import addresses, identity
from ..identity.template import ADMIN_ROLE, CONSOLE_CALLBACK, CONSOLE_SIGN_IN
from .exceptions import SignInRefused

logger = logging.getLogger(__name__)

BEGIN_AGAIN = "Begin again; if it happens again, the log of this service says why."
_ERROR = re.compile(r"[a-z_]{1,40}")  # RFC 6749 section 5.2
_session = new_session()


@dataclass(frozen=True)
class Provider:
    """
    A realm as the console signs operators in with it, and the client it does so as.

    Browsers are sent below the issuer, and calls of ours go to the base address;
    nothing comes from a discovery document or a ``Host`` header.
    """

    realm: str
    client_id: str
    client_secret: str = ""  # none for a public client
    role: str = ""  # what a user needs there; "" where our database knows

    @property
    def meant_for(self):
        """Whom the button is for, in a sentence."""
        if self.role:
            return f"For accounts with the role {self.role}."
        return f"For administrators ({ADMIN_ROLE}) of the organization."

    @property
    def issuer(self):
        return addresses.issuer(self.realm)

    @property
    def authorization_endpoint(self):
        return addresses.authorization_endpoint(self.realm)

    @property
    def redirect_uri(self):
        return f"{settings.PUBLIC_BASE_URL}{CONSOLE_CALLBACK}"

    @property
    def sign_out_url(self):
        """
        Where a browser ends the session at the provider and comes back.

        By client id, because we keep no ID token to show; the provider asks first.

        Source: OpenID Connect RP-Initiated Logout 1.0 section 2.
        """
        query = {
            "client_id": self.client_id,
            "post_logout_redirect_uri": f"{settings.PUBLIC_BASE_URL}{CONSOLE_SIGN_IN}",
        }
        return f"{addresses.end_session_endpoint(self.realm)}?{urlencode(query)}"

    def check_reachable(self):
        """
        Raise unless a browser that is sent to the provider will find it.

        Raises: Unavailable; SignInRefused when the realm is not there.
        """
        try:
            identity.jwks(self.realm)
        except Unavailable as error:
            logger.warning("Sign-in: %s", error)
            raise _no_answer() from error
        except Rejected as error:
            logger.warning("Sign-in: %s", error)
            raise SignInRefused(
                f"The identity provider has no realm {self.realm}, so nobody can sign "
                "in with it. Sign in as a local operator."
            ) from error

    @sensitive_variables()
    def exchange(self, form):
        """
        Return what the token endpoint gives for a code.

        Shapes: ``form`` {name: value}, RFC 6749 section 4.1.3; returns {"id_token":
        str, "access_token": str, ...}.
        Raises: Unavailable; SignInRefused.
        """
        try:
            answer = send(
                _session,
                "POST",
                addresses.token_endpoint(self.realm),
                data=form,
                timeout=settings.IDENTITY["timeout"],
            )
        except requests.RequestException as error:
            logger.warning("Sign-in: realm %s: %s", self.realm, why(error))
            raise _no_answer() from None  # the cause would carry the form along
        try:
            found = answer.json()
        except ValueError:
            found = None
        found = found if isinstance(found, dict) else {}
        if answer.status_code != 200:
            self._refuse(answer.status_code, found.get("error"))
        if not all(isinstance(found.get(n), str) for n in ("id_token", "access_token")):
            logger.warning("Sign-in: realm %s gave no tokens.", self.realm)
            raise SignInRefused(f"The identity provider gave no answer. {BEGIN_AGAIN}")
        return found

    def _refuse(self, status, error):
        error = shown_error(error)
        logger.warning(
            "Sign-in: the token endpoint of realm %s answered %s %s",
            self.realm,
            status,
            error,
        )
        if status >= 500:
            raise _no_answer()
        if error in {"invalid_client", "unauthorized_client"}:
            raise SignInRefused(
                f"The identity provider does not know this console as its client "
                f"{self.client_id}. Check that client in realm {self.realm}, and "
                "SECURITY_OAUTH2_OPERATOR_CLIENT_ID and _CLIENT_SECRET."
            )
        raise SignInRefused(
            "The identity provider ended this sign-in: it took too long, or was used "
            "already. Begin again."
        )


def shown_error(error):
    """Return an OAuth error code if it looks like one, else "no known error"."""
    is_code = isinstance(error, str) and _ERROR.fullmatch(error)
    return error if is_code else "no known error"


def _no_answer():
    return Unavailable(
        "The identity provider does not answer, so nobody can sign in with it now. "
        "Try again in a moment, or sign in as a local operator."
    )
