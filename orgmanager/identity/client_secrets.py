"""The secrets of service-account clients that somebody has chosen."""

from pathlib import Path

from django.conf import settings

from ..errors import Rejected


def given_secrets():
    """
    Return the secrets that are configured or mounted; the provider makes others.

    Shapes: {client id: secret}.
    Raises: Rejected for a mounted file that cannot be read or is empty.
    """
    secrets = {}
    if settings.SERVICE_ACCOUNT_SECRETS_DIR:
        for path in sorted(Path(settings.SERVICE_ACCOUNT_SECRETS_DIR).glob("flowx-*")):
            secrets[path.name] = _read(path)
    if settings.SERVICE_ACCOUNT_CLIENT_SECRET:
        secrets[settings.SERVICE_ACCOUNT_CLIENT_ID] = (
            settings.SERVICE_ACCOUNT_CLIENT_SECRET
        )
    return secrets


def _read(path):
    try:
        secret = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Rejected(f"The secret file {path} cannot be read.") from error
    if not secret:
        raise Rejected(f"The secret file {path} is empty. Fill it, or take it away.")
    return secret
