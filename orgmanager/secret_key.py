"""Django's secret key where nothing secret is configured to derive it from."""

import os
import secrets
from contextlib import suppress


def read_or_create(path):
    """
    Return the random key in ``path``, made by whichever process is first.

    The file is complete when it appears, so that a second process never reads
    half of it.
    """
    with suppress(FileNotFoundError):
        return path.read_text(encoding="ascii")
    own = path.with_name(f"{path.name}.{os.getpid()}")
    with open(os.open(own, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(secrets.token_urlsafe(48))
        file.flush()
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(own, path)  # unlike rename(), this never replaces the first one
    own.unlink()
    return path.read_text(encoding="ascii")
