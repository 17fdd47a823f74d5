"""PostgreSQL, Redis and SpiceDB with TLS, beside those that have none."""

import datetime
import ipaddress
import os
import pwd
import ssl

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from deploy.services.postgresql import ACCOUNT, ProjectPostgreSQL
from deploy.services.redis import Redis
from deploy.services.service import plain_environment
from deploy.services.spicedb import SpiceDB

LOOPBACK = ipaddress.ip_address("127.0.0.1")


class Authority:
    """A certificate authority of its own; ``file`` holds its certificate."""

    def __init__(self, folder, name):
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(
            self._name,
            self._key,
            x509.BasicConstraints(ca=True, path_length=0),
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self):
        """Return the files of a certificate for 127.0.0.1 and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        addresses = x509.SubjectAlternativeName([x509.IPAddress(LOOPBACK)])
        certificate = self._sign(name, key, addresses)
        files = self.folder / "server.pem", self.folder / "server.key"
        files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files

    def _sign(self, name, key, extension):
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(extension, critical=False)
            .sign(self._key, hashes.SHA256())
        )


class TlsPostgreSQL(ProjectPostgreSQL):
    """Lets nobody in without TLS, its own superuser included."""

    certificate = key = None

    def prepare(self):
        super().prepare()
        data = self._data().resolve()
        (data / "server.crt").write_bytes(self.certificate.read_bytes())
        (data / "server.key").write_bytes(self.key.read_bytes())
        (data / "server.key").chmod(0o600)
        if self.user():
            os.chown(data / "server.key", pwd.getpwnam(ACCOUNT).pw_uid, -1)
        with (data / "orgmanager.conf").open("a") as settings:
            settings.write("ssl = on\n")
        (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 md5\n")


class TlsRedis(Redis):
    certificate = key = None

    def prepare(self):
        super().prepare()
        with (self.folder / "redis.conf").open("a") as settings:
            settings.write(
                f"port 0\ntls-port {self.state.port('redis')}\n"
                f"tls-cert-file {self.certificate}\ntls-key-file {self.key}\n"
                f"tls-ca-cert-file {self.certificate}\ntls-auth-clients no\n"
            )

    def is_ready(self):
        address = ("127.0.0.1", self.state.port("redis"))
        try:
            return bool(ssl.get_server_certificate(address, timeout=2))
        except OSError:
            return False


class TlsSpiceDB(SpiceDB):
    """Keeps what it is told in memory."""

    needs = ()
    certificate = key = authority = None

    def prepare(self):
        pass

    def command(self):
        return [
            *super().command(),
            f"--grpc-tls-cert-path={self.certificate}",
            f"--grpc-tls-key-path={self.key}",
        ]

    def environment(self):
        return plain_environment() | {
            "SPICEDB_GRPC_PRESHARED_KEY": self.state.secret("spicedb-token"),
            "SPICEDB_DATASTORE_ENGINE": "memory",
        }

    def is_ready(self):
        credentials = grpc.ssl_channel_credentials(self.authority.read_bytes())
        with grpc.secure_channel(self.address(), credentials) as channel:
            try:
                grpc.channel_ready_future(channel).result(timeout=2)
            except grpc.FutureTimeoutError:
                return False
        return True
