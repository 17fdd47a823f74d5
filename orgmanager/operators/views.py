"""
The pages of signing in and out.

Whatever goes wrong ends on the sign-in page, with one sentence that says what
happened; a local operator can sign in there all the same.
"""

import logging
import re
import time
from datetime import timedelta
from urllib.parse import urlencode

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import BACKEND_SESSION_KEY
from django.contrib.sessions.backends.base import UpdateError
from django.http import HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_variables
from django.views.generic import View
from mozilla_django_oidc.views import (
    OIDCAuthenticationCallbackView,
    OIDCAuthenticationRequestView,
)

from ..errors import DomainError
from . import admission
from .exceptions import SignInRefused
from .provider import shown_error

logger = logging.getLogger(__name__)

BACKEND = "orgmanager.operators.backends.ProviderBackend"
SESSION_AGE = timedelta(minutes=30)  # from a sign-in, however busy the session is
PENDING_AGE = 600  # seconds from beginning a sign-in to coming back
MAX_NEXT = 1000  # characters

STATES, NEXT, ANEW = "oidc_states", "oidc_login_next", "oidc_anew"  # in the session
_STATE = re.compile(r"[A-Za-z0-9]{32}")
_CODE = re.compile(r"[\x21-\x7e]{1,2048}")


@never_cache
def sign_in(request):
    """Show the sign-in page; with the provider's button if there is a provider."""
    provider, provider_url = admission.find_provider(), ""
    if provider is not None:
        # On the public host, where the provider sends the browser back to: the
        # cookie that it needs then would not be there on another one.
        provider_url = settings.PUBLIC_BASE_URL + reverse("oidc_authentication_init")
        if path := local_path(request):
            provider_url += f"?{urlencode({'next': path})}"
    context = {"provider": provider, "provider_url": provider_url}
    return admin.site.login(request, extra_context=context)


@never_cache
def sign_out(request):
    """End the session here, and at the provider if it was begun there."""
    is_theirs = request.session.get(BACKEND_SESSION_KEY) == BACKEND
    response = admin.site.logout(request)
    provider = admission.find_provider() if is_theirs else None
    if provider is None or request.method != "POST":
        return response
    try:
        provider.check_reachable()
    except DomainError:
        return response  # signed out here at least, on a page that is there
    return HttpResponseRedirect(provider.sign_out_url)


@method_decorator(never_cache, name="dispatch")
class Begin(OIDCAuthenticationRequestView):
    """Send the browser to the identity provider."""

    def __init__(self, **kwargs):
        View.__init__(self, **kwargs)  # the library's reads settings: see get()

    def get(self, request):
        path = local_path(request)
        try:
            self.provider = admission.find_provider()
            if self.provider is None:
                raise SignInRefused(
                    "Nobody can sign in with an identity provider here yet. Sign in "
                    "as a local operator."
                )
            self.provider.check_reachable()
        except DomainError as error:
            return back_to_sign_in(request, error, path)
        self.OIDC_OP_AUTH_ENDPOINT = self.provider.authorization_endpoint
        self.OIDC_RP_CLIENT_ID = self.provider.client_id
        response = super().get(request)
        request.session[NEXT] = path
        return response

    def get_extra_params(self, request):
        # The library's address is made from the Host header.
        params = {"redirect_uri": self.provider.redirect_uri}
        if request.session.pop(ANEW, False):
            params["prompt"] = "login"  # or it would send the same person back
        return params


@method_decorator(never_cache, name="dispatch")
class Callback(OIDCAuthenticationCallbackView):
    """
    Take the browser back from the identity provider.

    Only a browser that began here, and lately, is looked at, and once: everything
    else has no effect at all, not even that of signing somebody out.

    Source: RFC 6749 section 10.12; RFC 9207; RFC 9700 section 2.1.
    """

    @sensitive_variables()
    def get(self, request):
        self.next_path = request.session.get(NEXT)
        try:
            self._check_parameters(request)
            return super().get(request)
        except DomainError as error:
            return back_to_sign_in(request, error, self.next_path)
        except UpdateError:  # somebody signed out in another tab meanwhile
            return back_to_sign_in(request, _unknown_sign_in(), self.next_path)

    def login_success(self):
        response = super().login_success()
        session = self.request.session
        session.pop(NEXT, None)
        session.pop(ANEW, None)
        session.set_expiry(timezone.now() + SESSION_AGE)
        return response

    @property
    def success_url(self):
        return self.next_path or reverse("admin:index")

    def login_failure(self):
        return back_to_sign_in(self.request, _unknown_sign_in(), self.next_path)

    def _check_parameters(self, request):
        """Raise SignInRefused unless this is the answer to a question of ours."""
        given = request.GET
        repeated = any(len(values) > 1 for _, values in given.lists())
        state = given.get("state", "")
        pending = request.session.get(STATES, {})
        if repeated or not _STATE.fullmatch(state) or state not in pending:
            raise _unknown_sign_in()
        if time.time() - pending[state]["added_on"] > PENDING_AGE:
            _forget(request, state)
            raise _unknown_sign_in()
        provider = admission.find_provider()
        if provider and given.get("iss", provider.issuer) != provider.issuer:
            _forget(request, state)
            logger.warning("Sign-in: the answer came from another issuer.")
            raise SignInRefused(
                "The answer came from another identity provider than the one that was "
                "asked, so nobody was signed in. Begin again."
            )
        if "error" in given or not _CODE.fullmatch(given.get("code", "")):
            _forget(request, state)
            error = shown_error(given.get("error"))
            logger.warning("Sign-in: the identity provider said %s.", error)
            raise SignInRefused(
                f"The identity provider signed nobody in ({error}). Begin again, or "
                "sign in as a local operator."
            )


def local_path(request):
    """Return where to go after signing in, if that is a page of ours, or None."""
    path = request.GET.get("next", "")
    is_local = url_has_allowed_host_and_scheme(path, allowed_hosts=None)
    return path if path[:1] == "/" and is_local and len(path) <= MAX_NEXT else None


def back_to_sign_in(request, error, path=None):
    """Return to the sign-in page, which says what ``error`` says."""
    if getattr(error, "asks_anew", False):
        request.session[ANEW] = True
    messages.error(request, str(error))
    query = f"?{urlencode({'next': path})}" if path else ""
    return HttpResponseRedirect(reverse("admin:login") + query)


def _forget(request, state):
    del request.session[STATES][state]
    request.session.modified = True


def _unknown_sign_in():
    return SignInRefused(
        "This sign-in was not begun in this browser, is over, or took longer than "
        f"{PENDING_AGE // 60} minutes. Begin again."
    )
