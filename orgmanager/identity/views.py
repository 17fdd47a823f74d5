"""
The addresses of the local realms: tokens, public keys, discovery.

For a first start on one machine. They answer that machine only, and under
production rules nobody; a real identity provider has its own.
"""

import base64
import binascii
import functools
import ipaddress
import logging
from urllib.parse import parse_qsl, unquote

from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc6749 import (
    InvalidClientError,
    InvalidRequestError,
)
from django.conf import settings
from django.http import Http404, JsonResponse
from django.http.request import RawPostDataException, UnreadablePostError
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.debug import sensitive_variables
from django.views.decorators.http import require_POST, require_safe

from ..errors import Rejected, Unavailable
from . import addresses, identity
from .issuer import TokenIssuer, TokenRequest

logger = logging.getLogger(__name__)

MAX_BODY = 16_384  # bytes
MAX_PARAMETERS = 20

_FORM = "application/x-www-form-urlencoded"
_PROXY_HEADERS = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")
_NO_STORE = (("Cache-Control", "no-store"), ("Pragma", "no-cache"))


def local_only(view):
    """Answer 404 unless the caller is on this machine, with no proxy between."""

    @functools.wraps(view)
    def guarded(request, *args, **kwargs):
        if (
            settings.PRODUCTION
            or not _is_loopback(request.META.get("REMOTE_ADDR", ""))
            or any(name in request.META for name in _PROXY_HEADERS)
        ):
            raise Http404
        return view(request, *args, **kwargs)

    return guarded


def oauth_errors(view):
    """Answer every refusal in the shape of RFC 6749 section 5.2."""

    @functools.wraps(view)
    def translated(request, realm):
        try:
            return view(request, realm)
        except OAuth2Error as error:
            return _answer(*error())
        except Rejected:
            return _answer(404, {"error": "Realm does not exist"})
        except Unavailable as error:
            logger.error("Local realms: %s", error)
            body = {"error": "temporarily_unavailable"}
            return _answer(503, body, [("Retry-After", str(error.retry_after))])

    return translated


@csrf_exempt
@require_POST
@local_only
@oauth_errors
@sensitive_variables()
def token(request, realm):
    """Issue an access token. Source: RFC 6749 sections 4.3 and 4.4."""
    found = _open_realm(realm)
    if not found["enabled"]:
        body = {"error": "access_denied", "error_description": "Realm not enabled"}
        return _answer(403, body)
    form = _read_form(request)
    client_id = _authorizing_client(request, form)
    if not form.get("grant_type"):
        raise InvalidRequestError("Missing form parameter: grant_type")
    if form["grant_type"] == "password":
        name = f"user {form.get('username', '').strip().lower()}"
    else:
        name = f"client {client_id}"
    attempt, wait = identity.begin_attempt(realm, name, request.META["REMOTE_ADDR"])
    if attempt is None:
        return _too_many(wait)
    issuer = TokenIssuer(identity, found)
    answer = issuer.create_token_response(TokenRequest(form, request.headers))
    status, body, headers = answer
    if body.get("error") in {"invalid_grant", "invalid_client"}:
        logger.warning("Realm %s refused %r: %s", realm, name[:200], body)
    else:
        identity.forget_attempt(attempt)
    return _answer(status, body, headers)


@require_safe
@local_only
@oauth_errors
def certs(request, realm):
    """Return the public keys of a realm. Source: RFC 7517."""
    return JsonResponse(identity.jwks(realm))


@require_safe
@local_only
@oauth_errors
def discovery(request, realm):
    """Describe a realm. Source: RFC 8414; OpenID Connect Discovery 1.0."""
    _open_realm(realm)
    return JsonResponse(
        {
            "issuer": addresses.issuer(realm),
            "token_endpoint": addresses.token_endpoint(realm),
            "jwks_uri": addresses.jwks_uri(realm),
            "grant_types_supported": ["password", "client_credentials"],
            "token_endpoint_auth_methods_supported": [
                "client_secret_basic",
                "client_secret_post",
            ],
            "response_types_supported": [],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }
    )


def _open_realm(name):
    realm = identity.signing_realm(name)
    if realm is None:
        raise Rejected(f"There is no realm {name}.")
    return realm


@sensitive_variables()
def _read_form(request):
    """
    Return the parameters of the body; those of the address do not count.

    Raises: InvalidRequestError.
    Source: RFC 6749 sections 2.3.1 (never in the address) and 3.2 (never twice).
    """
    if request.content_type != _FORM:
        raise InvalidRequestError(f"Send the parameters as {_FORM}")
    try:
        raw = request.read(MAX_BODY + 1)
    except (RawPostDataException, UnreadablePostError, OSError) as error:
        raise InvalidRequestError("The body could not be read") from error
    if len(raw) > MAX_BODY:
        raise InvalidRequestError(f"More than {MAX_BODY} bytes", status_code=413)
    try:
        pairs = parse_qsl(
            raw.decode(),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError as error:
        raise InvalidRequestError("The parameters cannot be decoded") from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise InvalidRequestError("duplicated parameter")
    return form


@sensitive_variables()
def _authorizing_client(request, form):
    """
    Return the client id that was given, once, in the header or in the body.

    Raises: InvalidClientError, InvalidRequestError.
    Source: RFC 6749 section 2.3.
    """
    header = request.headers.get("Authorization")
    if header is None:
        return form.get("client_id", "")
    scheme, _, encoded = header.partition(" ")
    try:
        if scheme.lower() != "basic":
            raise ValueError("not Basic")
        # Authlib decodes it again, and does not expect what is refused here.
        decoded = base64.b64decode(encoded.encode("ascii"), validate=True).decode()
    except (ValueError, binascii.Error) as error:
        raise InvalidClientError("Malformed header", status_code=401) from error
    if "client_secret" in form:
        raise InvalidRequestError("Give the client secret once")
    return unquote(decoded.partition(":")[0])


def _too_many(wait):
    body = {
        "error": "temporarily_unavailable",
        "error_description": f"Too many failed attempts. Wait {wait} seconds.",
    }
    return _answer(429, body, [("Retry-After", str(wait))])


def _answer(status, body, headers=()):
    response = JsonResponse(body, status=status)
    for name, value in (*headers, *_NO_STORE):
        response[name] = value
    return response


def _is_loopback(address):
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback
