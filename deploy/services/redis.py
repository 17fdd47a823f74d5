"""Redis, as a cache with a password."""

import socket

from . import programs
from .service import Service
from .state import write_private

SETTINGS = """\
bind 127.0.0.1
port {port}
requirepass {secret}
dir {folder}
save ""
appendonly no
maxmemory 256mb
maxmemory-policy allkeys-lru
"""


class Redis(Service):
    """Keeps nothing over a restart: what is in a cache can be found again."""

    name = "redis"
    ports = ("redis",)

    def install(self):
        programs.require("redis-server")

    def prepare(self):
        settings = SETTINGS.format(
            port=self.state.port("redis"),
            secret=self.state.secret("redis"),
            folder=self.folder,
        )
        write_private(self.folder / "redis.conf", settings)

    def command(self):
        return [*programs.require("redis-server"), self.folder / "redis.conf"]

    def is_ready(self):
        address = ("127.0.0.1", self.state.port("redis"))
        talk = f"AUTH {self.state.secret('redis')}\r\nPING\r\n".encode()
        try:
            with socket.create_connection(address, timeout=2) as connection:
                connection.sendall(talk)
                answer = b""
                while answer.count(b"\r\n") < 2 and (part := connection.recv(64)):
                    answer += part
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"
