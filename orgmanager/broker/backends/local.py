"""A broker on this machine: one file of JSON lines per topic, made for ``tail``."""

import base64
import fcntl
import json
import os
import re
import time
from contextlib import contextmanager
from pathlib import Path

from django.utils import timezone

from ...errors import Rejected, Unavailable
from .base import BaseBroker, BaseConsumer, BasePublisher, ReceivedMessage

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")  # Kafka's own rule
POLL_INTERVAL = 0.1  # seconds

# Ends the headers; text before it has its quotes escaped, so it stands once.
_VALUE = b'}, "value": '


class Broker(BaseBroker):
    """
    Topics as ``<path>/<topic>.jsonl``, appended under a lock and synced.

    A line is complete when its newline is there: what a crash left half
    written is cut off by the next writer, and never read.
    """

    def __init__(self, *, path, max_bytes=52428800 + 65536):
        """``max_bytes``: the largest value that is taken."""
        self._path = Path(path)
        self._max_bytes = max_bytes

    def publisher(self, shard):
        return Publisher(self._path, self._max_bytes)

    def consumer(self, topic, *, group):
        return Consumer(self._path, topic, group)

    def ensure_topic(self, topic):
        with _unavailable_on_os_error(), _open_log(self._path, topic):
            pass

    def check_publish(self, topic):
        self.ensure_topic(topic)

    def largest_message(self, topic):
        return self._max_bytes

    def ping(self):
        with _unavailable_on_os_error():
            self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self._path, os.W_OK):
                raise Unavailable(f"{self._path} cannot be written to.")


class Publisher(BasePublisher):
    """Appends batches; the caller's shard lock keeps a second writer away."""

    def __init__(self, path, max_bytes):
        self._path = path
        self._max_bytes = max_bytes

    def publish(self, messages):
        by_topic = {}
        for message in messages:
            if len(message.value) > self._max_bytes:
                raise Rejected(
                    f"A message for {message.topic} has {len(message.value)} bytes "
                    f"and {self._max_bytes} are the limit."
                )
            by_topic.setdefault(message.topic, []).append(_line(message))
        with _unavailable_on_os_error():
            for topic, lines in by_topic.items():
                with _open_log(self._path, topic) as log:
                    log.write(b"".join(lines))
                    log.flush()
                    os.fsync(log.fileno())

    def close(self):
        pass


class Consumer(BaseConsumer):
    """Reads complete lines; the group's place is the byte after the last one."""

    def __init__(self, path, topic, group):
        self._log = path / f"{_checked(topic)}.jsonl"
        self._topic = topic
        self._place_file = path / ".groups" / _checked(group) / topic
        self._place = self._committed()

    def poll(self, timeout):
        deadline = time.monotonic() + timeout
        while (message := self._read()) is None:
            if time.monotonic() >= deadline:
                return None
            time.sleep(POLL_INTERVAL)
        return message

    def commit(self, message):
        with _unavailable_on_os_error():
            self._place_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            draft = self._place_file.with_name(f"{self._topic}.{os.getpid()}.draft")
            with draft.open("w") as file:
                file.write(str(self._after(message)))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._place_file)

    def close(self):
        pass

    def _read(self):
        try:
            with self._log.open("rb") as log:
                log.seek(self._place)
                line = log.readline()
        except FileNotFoundError:
            return None
        if not line.endswith(b"\n"):
            return None
        offset, self._place = self._place, self._place + len(line)
        return _parse(self._topic, offset, line)

    def _after(self, message):
        with self._log.open("rb") as log:
            log.seek(message.offset)
            log.readline()
            return log.tell()

    def _committed(self):
        try:
            return int(self._place_file.read_text())
        except FileNotFoundError:
            return 0


def _line(message):
    """Return ``message`` as one line; a JSON value stays as it is, byte for byte."""
    head = {
        "time": timezone.now().isoformat(timespec="milliseconds"),
        "key": message.key.decode("utf-8", "backslashreplace"),
        "headers": message.headers,
    }
    start = json.dumps(head, ensure_ascii=False)[:-2].encode()
    if _is_one_line_of_json(message.value):
        return start + _VALUE + message.value + b"}\n"
    encoded = base64.b64encode(message.value)
    return start + b'}, "valueBase64": "' + encoded + b'"}\n'


def _is_one_line_of_json(value):
    try:
        json.loads(value)
    except ValueError:
        return False
    return b"\n" not in value


def _parse(topic, offset, line):
    try:
        fields = json.loads(line)
        if "valueBase64" in fields:
            value = base64.b64decode(fields["valueBase64"])
        else:
            start = line.index(_VALUE) + len(_VALUE)
            value = line.rstrip(b"\n")[start:-1]
        key, headers = fields["key"].encode(), fields["headers"]
        headers = {name: text.encode() for name, text in headers.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        # Somebody wrote into the file by hand: the reader decides what to do.
        key, value, headers = b"", line.rstrip(b"\n"), {}
    return ReceivedMessage(topic, 0, offset, key, value, headers)


def _checked(name):
    if not _TOPIC.fullmatch(name) or name in {".", ".."}:
        raise Rejected(
            f"{name!r} is no topic or group name: 1 to 249 of A-Z a-z 0-9 . _ -"
        )
    return name


@contextmanager
def _open_log(path, topic):
    """Yield the log of ``topic``, locked, at its end, without a torn last line."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(
        path / f"{_checked(topic)}.jsonl", os.O_RDWR | os.O_CREAT, mode=0o600
    )
    with os.fdopen(descriptor, "r+b") as log:
        fcntl.flock(log, fcntl.LOCK_EX)
        _cut_torn_line(log)
        yield log


def _cut_torn_line(log):
    end = log.seek(0, os.SEEK_END)
    place = end
    while place > 0:
        step = min(4096, place)
        log.seek(place - step)
        newline = log.read(step).rfind(b"\n")
        if newline >= 0:
            place = place - step + newline + 1
            break
        place -= step
    if place != end:
        log.truncate(place)
    log.seek(place)


@contextmanager
def _unavailable_on_os_error():
    try:
        yield
    except OSError as error:
        raise Unavailable(f"The local event log cannot be used: {error}") from error
