import json

import pytest

from orgmanager.outbox.preview import preview

TOKEN = "eyJhbGciOiJFUzI1NiJ9.eyJvcmdJZCI6ImEifQ.c2lnbmF0dXJl"
PEM = "-----BEGIN PRIVATE KEY-----\nMIIsecret\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    "content",
    [
        {"password": "s3cr3t"},
        {"admin": [{"clientSecret": "s3cr3t"}]},
        {"api_key": {"value": "s3cr3t"}},
        {"note": f"the licence is {TOKEN}"},
        {"note": PEM.replace("MIIsecret", "s3cr3t")},
        {"url": "https://user:s3cr3t@host/"},
        {TOKEN: 1},
        {"blob": "s3cr3t" * 100},
    ],
)
def test_preview_of_json_leaves_secrets_out(content):
    shown = preview(json.dumps(content).encode())
    assert "s3cr3t" not in shown and TOKEN not in shown


@pytest.mark.parametrize(
    "content",
    [
        TOKEN,
        f'"{TOKEN}"',
        f"Authorization: Bearer {TOKEN}",
        "password=s3cr3t",
        "{'api-key': 's3cr3t', broken",
        PEM.replace("MIIsecret", "s3cr3t"),
        '{"password":\n  "s3cr3t", broken',
        "https://user:s3cr3t@host/",
    ],
)
def test_preview_of_text_leaves_secrets_out(content):
    shown = preview(content.encode())
    assert "s3cr3t" not in shown and "c2lnbmF0dXJl" not in shown


def test_preview_keeps_what_helps():
    assert json.loads(preview(b'{"plan": "gold", "n": [1, null]}')) == {
        "plan": "gold",
        "n": [1, None],
    }


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"", "(empty)"), (b"\x00\xff", "(2 bytes that are no text)"), (b"a\x00b", "a·b")],
)
def test_preview_of_no_text_says_so(content, expected):
    assert preview(content) == expected


@pytest.mark.parametrize(
    "content",
    [
        b"x" * 100_000,
        "ä".encode() * 50_000,
        b"[" * 100_000,
        b'{"a":' * 9999,
        b"password" * 9999,
        b"a.b." * 9999,
        b"x" * 2_000_000,
        b'{"a":' * 400 + b"1" + b"}" * 400,
    ],
    ids=lambda content: str(content[:9]),
)
def test_preview_of_much_is_cut_off(content):
    assert len(preview(content)) < 2100
