"""SpiceDB, on PostgreSQL so that what it was told outlives it."""

import grpc

from . import pins, programs
from .service import Service, plain_environment

_CHECK_HEALTH = "/grpc.health.v1.Health/Check"
_SERVING = b"\x08\x01"  # the message HealthCheckResponse(status=SERVING)


class SpiceDB(Service):
    """Compiled from its Go module: several minutes, once per machine."""

    name = "spicedb"
    needs = ("peers-postgresql",)
    ports = ("spicedb",)

    def install(self):
        with programs.fetched_once(f"spicedb-{pins.SPICEDB}") as (folder, is_there):
            self._program = folder / "spicedb"
            if is_there:
                return
            programs.go(
                "install",
                "-ldflags=-s -w",
                f"github.com/authzed/spicedb/cmd/spicedb@{pins.SPICEDB}",
                log=programs.cache() / "spicedb-build.log",
                environment={"GOBIN": str(folder), "CGO_ENABLED": "0", "GOFLAGS": ""},
            )

    def prepare(self):
        programs.run(
            [self._program, "datastore", "migrate", "head", "--skip-release-check"],
            log=self.folder / "migrate.log",
            environment=plain_environment() | self.environment(),
        )

    def command(self):
        return [
            self._program,
            "serve",
            f"--grpc-addr={self.address()}",
            "--http-enabled=false",
            "--metrics-enabled=false",
            "--telemetry-endpoint=",
            "--skip-release-check",
        ]

    def environment(self):
        secret, port = self.state.secret("spicedb"), self.state.port("peers-postgresql")
        return {
            "SPICEDB_GRPC_PRESHARED_KEY": self.state.secret("spicedb-token"),
            "SPICEDB_DATASTORE_ENGINE": "postgres",
            "SPICEDB_DATASTORE_CONN_URI": (
                f"postgres://spicedb:{secret}@127.0.0.1:{port}/spicedb?sslmode=disable"
            ),
        }

    def is_ready(self):
        with grpc.insecure_channel(self.address()) as channel:
            try:
                return channel.unary_unary(_CHECK_HEALTH)(b"", timeout=2) == _SERVING
            except grpc.RpcError:
                return False
