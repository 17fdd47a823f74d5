"""A system that fails is left alone, and tried again by one caller at a time."""

import socket
import threading

import pytest
from redis.exceptions import ConnectionError, ResponseError

from orgmanager.breaker import Breaker
from orgmanager.redis_client import FAILURES, Client, Pool

PAUSE = 10


@pytest.fixture
def breaker(clock):
    return Breaker("It", failures=3, pause=PAUSE, clock=clock)


def fail(breaker, times):
    for _ in range(times):
        assert breaker.may_ask()
        breaker.fail(OSError("gone"))


def test_fewer_failures_than_the_limit_change_nothing(breaker):
    fail(breaker, 2)
    assert breaker.may_ask()


def test_a_success_in_between_starts_the_count_anew(breaker):
    fail(breaker, 2)
    breaker.succeed()
    fail(breaker, 2)
    assert breaker.may_ask()


def test_at_the_limit_nobody_asks_until_the_pause_is_over(breaker, clock):
    fail(breaker, 3)
    clock.now += PAUSE - 0.001
    assert not any(breaker.may_ask() for _ in range(100))


def test_after_the_pause_one_caller_tries_and_the_others_stay_out(breaker, clock):
    fail(breaker, 3)
    clock.now += PAUSE
    assert [breaker.may_ask() for _ in range(100)] == [True] + [False] * 99


def test_a_try_that_fails_starts_the_next_pause(breaker, clock):
    fail(breaker, 3)
    clock.now += PAUSE
    fail(breaker, 1)
    clock.now += PAUSE - 0.001
    assert not breaker.may_ask()
    clock.now += 0.001
    assert breaker.may_ask()


def test_a_try_that_succeeds_lets_everybody_in(breaker, clock):
    fail(breaker, 3)
    clock.now += PAUSE
    assert breaker.may_ask()
    breaker.succeed()
    assert all(breaker.may_ask() for _ in range(100))
    fail(breaker, 2)
    assert breaker.may_ask()


def test_a_try_that_nobody_reports_on_is_followed_by_another(breaker, clock):
    """Fails when a thread that dies while it tries keeps the breaker open for good."""
    fail(breaker, 3)
    for _ in range(3):
        clock.now += PAUSE
        assert breaker.may_ask() and not breaker.may_ask()


def test_the_refusal_says_what_failed_last(breaker):
    fail(breaker, 3)
    assert breaker.refusal() == (
        "It is left alone for 10 s at a time, for it did not answer: OSError: gone."
    )


def test_opening_and_closing_are_logged_once_each(breaker, caplog):
    caplog.set_level("INFO")
    fail(breaker, 3)
    breaker.fail(OSError("a thread that was still waiting"))
    breaker.succeed()
    breaker.succeed()
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]


# --- Redis ------------------------------------------------------------------


class Server:
    """A server that counts connections and answers every command the same."""

    def __init__(self):
        self.answer = b""
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self._socket.getsockname()[1]}/0?protocol=2"

    def close(self):
        self._socket.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            with connection:
                while connection.recv(4096) and self.answer:
                    connection.sendall(self.answer)


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


@pytest.fixture
def client(server, clock):
    pool = Pool.from_url(server.url, socket_timeout=1, clock=clock)
    return Client(connection_pool=pool)


def test_redis_that_hangs_up_is_left_alone_and_found_again(client, server, clock):
    for _ in range(20):
        with pytest.raises(ConnectionError):
            client.get("key")
    asked = server.connections
    assert FAILURES <= asked <= 2 * FAILURES
    with pytest.raises(ConnectionError, match="Redis is left alone for 10 s"):
        client.get("key")
    assert server.connections == asked
    server.answer = b"$2\r\nok\r\n"
    clock.now += PAUSE
    assert client.get("key") == b"ok"


def test_redis_that_refuses_is_no_redis_that_is_down(client, server):
    server.answer = b"-ERR no\r\n"
    for _ in range(20):
        with pytest.raises(ResponseError):
            client.get("key")
    assert client.connection_pool.breaker.may_ask()
