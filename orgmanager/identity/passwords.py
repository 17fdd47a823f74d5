"""Passwords: which are good enough, and how they are kept without being known."""

import base64
import binascii
import hashlib
import hmac
import json
import re
import secrets

from django.views.decorators.debug import sensitive_variables

from ..errors import Invalid

MIN_LENGTH, MAX_LENGTH = 8, 64  # in UTF-16 units, as the identity provider counts

# Read alike by Python and Java: both provider and registration check with it.
# Line ends are out because ``.`` means a different set of them in each.
_LINE = r"[^\r\n\u0085\u2028\u2029]*"
PASSWORD_PATTERN = rf"(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])(?=.*[!@#$%^&*()_+\-]){_LINE}"

# OWASP's figure for PBKDF2-HMAC-SHA512. Keycloak takes over any count.
ITERATIONS = 210_000
_SALT_BYTES, _HASH_BYTES = 16, 64


@sensitive_variables("plain")
def check_password(plain, email, *, pointer="/password"):
    """
    Refuse ``plain`` unless it meets the password policy.

    Units: ``pointer`` is the JSON pointer of the field, shown in the refusal.
    Raises: Invalid.
    Source: setup guide, on-premises initialization; the realm has the same policy.
    """
    length = len(plain.encode("utf-16-le", "surrogatepass")) // 2
    if (
        not MIN_LENGTH <= length <= MAX_LENGTH
        or not re.fullmatch(PASSWORD_PATTERN, plain)
        or not _is_encodable(plain)
    ):
        detail = (
            f"The password needs {MIN_LENGTH} to {MAX_LENGTH} characters on one line, "
            "with at least one of a-z, one of A-Z, one digit and one of "
            "! @ # $ % ^ & * ( ) _ + -"
        )
        raise _refusal(detail, pointer)
    if plain.casefold() == email.strip().casefold():
        raise _refusal("The password must not be the e-mail address.", pointer)


@sensitive_variables("plain")
def hash_password(plain):
    """
    Return ``plain`` as a credential that a realm takes over; about 0.1 s of work.

    Shapes: {"credentialData": str, "secretData": str}, both JSON, as Keycloak
    stores them.
    """
    salt = secrets.token_bytes(_SALT_BYTES)
    value = _derive(plain, salt, ITERATIONS)
    parameters = {
        "hashIterations": ITERATIONS,
        "algorithm": "pbkdf2-sha512",
        "additionalParameters": {},
    }
    secret = {
        "value": base64.b64encode(value).decode(),
        "salt": base64.b64encode(salt).decode(),
        "additionalParameters": {},
    }
    return {"credentialData": json.dumps(parameters), "secretData": json.dumps(secret)}


@sensitive_variables("plain")
def is_password(plain, credential):
    """
    Say whether ``plain`` is the password behind ``credential``.

    Shapes: ``credential`` as hash_password() returns it.
    Raises: ValueError when the credential is none that can be checked here.
    """
    iterations, salt, expected = read_credential(credential)
    if not _is_encodable(plain):
        return False
    return hmac.compare_digest(_derive(plain, salt, iterations), expected)


def read_credential(credential):
    """
    Return (iterations, salt, hash) of ``credential``.

    Raises: ValueError when it is not PBKDF2-HMAC-SHA512 of at least 1,000 rounds.
    """
    try:
        parameters = json.loads(credential["credentialData"])
        secret = json.loads(credential["secretData"])
        iterations = parameters["hashIterations"]
        salt = base64.b64decode(secret["salt"], validate=True)
        value = base64.b64decode(secret["value"], validate=True)
        algorithm = parameters["algorithm"]
    except (KeyError, TypeError, binascii.Error) as error:
        raise ValueError("credential is incomplete") from error
    if algorithm != "pbkdf2-sha512" or len(value) != _HASH_BYTES or not salt:
        raise ValueError("credential is not PBKDF2-HMAC-SHA512 with a salt")
    if type(iterations) is not int or not 1_000 <= iterations <= 10_000_000:
        raise ValueError("credential has an unreasonable number of iterations")
    return iterations, salt, value


@sensitive_variables()
def _derive(plain, salt, iterations):
    return hashlib.pbkdf2_hmac("sha512", plain.encode(), salt, iterations, _HASH_BYTES)


def _is_encodable(plain):
    # JSON may carry half a surrogate pair, which no hash can be made of.
    return not any("\ud800" <= character <= "\udfff" for character in plain)


def _refusal(detail, pointer):
    error = {"pointer": pointer, "detail": detail, "code": "password_policy"}
    return Invalid(detail, errors=[error])
