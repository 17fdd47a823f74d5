"""What a log line holds, and what it never does."""

import json
import logging
import sys

import pytest

from orgmanager import context, logs

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.c2lnbmF0dXJl"


@pytest.fixture
def write():
    """Return a function that logs one record and gives the line back as a dict."""
    log_filter = logs.SecretFilter(secrets={"s3cr3t-value", "s3cr3t-value-2", "short"})
    formatter = logs.JSONFormatter()

    def log(message, *args, exc_info=None):
        record = logging.LogRecord(
            "orgmanager.x", logging.INFO, __file__, 1, message, args, exc_info
        )
        assert log_filter.filter(record)
        line = formatter.format(record)
        assert "\n" not in line
        return json.loads(line)

    return log


def test_log_message_becomes_one_json_line(write):
    line = write("Realm %s\nstands", "acme")
    assert line["message"] == "Realm acme\nstands"
    assert (line["level"], line["logger"]) == ("INFO", "orgmanager.x")
    assert line["time"].endswith("Z")
    assert "request_id" not in line


def test_log_inside_a_request_names_it(write):
    tokens = [
        (context.request_id, context.request_id.set("r-1")),
        (context.organization_id, context.organization_id.set("o-1")),
        (
            context.trace_parent,
            context.trace_parent.set(f"00-{'ab' * 16}-{'cd' * 8}-01"),
        ),
    ]
    line = write("hello")
    for variable, token in tokens:
        variable.reset(token)
    assert line["request_id"] == "r-1"
    assert line["organization_id"] == "o-1"
    assert line["trace_id"] == "ab" * 16


@pytest.mark.parametrize(
    "text, expected",
    [
        ("password s3cr3t-value.", "password ***."),
        ("password s3cr3t-value-2.", "password ***."),
        ("a short word", "a short word"),
        (f"token {JWT} refused", "token *** refused"),
        ("Authorization: Bearer abc.def-123456", "Authorization: Bearer ***"),
        ("authorization: basic dXNlcjpwYXNz", "authorization: basic ***"),
        ("redis://user:pass@redis:6379/0", "redis://***@redis:6379/0"),
    ],
)
def test_log_secret_is_hidden(write, text, expected):
    assert write(text)["message"] == expected
    assert write("%s", text)["message"] == expected


def test_log_exception_hides_secrets_in_its_text(write):
    try:
        raise ValueError(f"refused s3cr3t-value and {JWT}")
    except ValueError:
        line = write("failed", exc_info=sys.exc_info())
    assert "ValueError: refused *** and ***" in line["exception"]
    assert "s3cr3t" not in json.dumps(line) and JWT not in json.dumps(line)


def test_log_arguments_that_do_not_fit_are_no_error(write):
    assert "s3cr3t" not in write("%d %s", "s3cr3t-value")["message"]
