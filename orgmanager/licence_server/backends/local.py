"""A licence server of this machine, so that a first run needs no other one."""

import os
import time
import uuid
from pathlib import Path

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from ...errors import Unavailable
from .base import AUDIENCE, BaseLicenceServer, read_licence, read_registration

LIFETIME = 24 * 3600  # seconds that a registration token may be used


class LicenceServer(BaseLicenceServer):
    """Signs and reads tokens with a key of its own, kept in ``path``."""

    issuer = "https://licence-server.local.invalid"

    def __init__(self, *, path):
        self._path = Path(path)
        self._loaded = None

    def validate_registration(self, token):
        public_key = self._key().public_key()
        return read_registration(token, key=public_key, issuer=self.issuer)

    def read_licence(self, token):
        return read_licence(token, key=self._key().public_key(), issuer=self.issuer)

    def ping(self):
        self._key()

    def issue_registration_token(self, *, org_id, org_code, org_name=""):
        """Return a token with which one installation can be registered."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "iat": now,
            "exp": now + LIFETIME,
            "jti": str(uuid.uuid4()),
            "orgId": str(org_id),
            "orgCode": org_code,
        }
        if org_name:
            claims["orgName"] = org_name
        return jwt.encode(claims, self._key(), algorithm="ES256")

    def issue_licence(self, licence):
        """Return ``licence`` (LicenceClaims), signed."""
        claims = {
            "iss": self.issuer,
            "aud": AUDIENCE,
            "iat": int(licence.issued_at.timestamp()),
            "jti": str(uuid.uuid4()),
            "orgId": str(licence.organization_id),
            "plan": licence.plan,
            "validFrom": int(licence.valid_from.timestamp()),
            "validTo": int(licence.valid_to.timestamp()),
            "limits": licence.limits,
            "features": licence.features,
        }
        return jwt.encode(claims, self._key(), algorithm="ES256")

    def _key(self):
        if self._loaded is None:
            try:
                self._loaded = self._load_or_make()
            except (OSError, ValueError) as error:
                raise Unavailable(
                    f"The local licence key {self._path} cannot be used: {error}"
                ) from error
        return self._loaded

    def _load_or_make(self):
        if not self._path.exists():
            made = ec.generate_private_key(ec.SECP256R1()).private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = self._path.with_name(f"{self._path.name}.{uuid.uuid4().hex}")
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(made)
                file.flush()
                os.fsync(file.fileno())
            try:
                os.link(draft, self._path)  # of several processes, one wins
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        return serialization.load_pem_private_key(self._path.read_bytes(), None)
