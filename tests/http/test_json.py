"""What the parser takes and refuses, and where it says the fault is."""

import json

import pytest

from orgmanager.parsers import MalformedBody, parse_json

REFUSED = {
    "NUL in a text": (b'{"a": ["x", "\\u0000"]}', "unstorable_text", "/a/1"),
    "NUL in a name": (b'{"a": {"b\\u0000": 1}}', "unstorable_text", "/a/b\0"),
    "a high half": (b'{"a": "\\ud800"}', "unstorable_text", "/a"),
    "a low half": (b'{"a": "\\udfff"}', "unstorable_text", "/a"),
    "halves the wrong way round": (b'"\\ude00\\ud83d"', "unstorable_text", ""),
    "half of a pair in a name": (b'{"\\ud800": 1}', "unstorable_text", "/\\ud800"),
    "a name twice": (b'{"a": {"b": 1, "b": 1}}', "duplicate_name", "/a"),
    "a name twice, escaped": (b'{"b": 1, "\\u0062": 2}', "duplicate_name", ""),
    "NaN": (b'{"a": NaN}', "not_a_number", "/a"),
    "Infinity": (b"[1, -Infinity]", "not_a_number", "/1"),
    "a float past the end": (b'{"a": 1e999}', "out_of_range", "/a"),
    "an integer past the end": (b'{"a": 9223372036854775808}', "out_of_range", "/a"),
    "an integer below": (b"[-9223372036854775809]", "out_of_range", "/0"),
    "5,000 digits": (b"[" + b"9" * 5000 + b"]", "out_of_range", "/0"),
    "a name that pointers escape": (b'{"a/b": {"~": NaN}}', "not_a_number", "/a~1b/~0"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED)
def test_parse_json_refuses_what_nobody_can_keep_and_says_where(case):
    body, code, pointer = case
    with pytest.raises(MalformedBody) as refusal:
        parse_json(body)
    (error,) = refusal.value.errors
    assert (error["code"], error["pointer"]) == (code, pointer)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "line 1, column 1"),
        (b'{"a":\n x}', "line 2, column 2"),
        (b'{"a": 1} x', "Extra data, line 1, column 10"),
        (b'"\x00"', "Invalid control character"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'"\xed\xa0\x80"', "not UTF-8: byte 1"),
        ("{}".encode("utf-16"), "not UTF-8: byte 0"),
        (b"[" * 65 + b"]" * 65, "deeper than 64"),
        (b"[" * 20_000, "deeper than 64"),
        (b'{"a":' * 20_000, "deeper than 64"),
        (b"[" * 20_000 + b"]" * 20_000, "deeper than 64"),
    ],
)
def test_parse_json_bad_syntax_is_refused_with_its_position(body, message):
    with pytest.raises(MalformedBody, match=message):
        parse_json(body)


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"[" * 64 + b"]" * 64, None),
        (b"[9223372036854775807, -9223372036854775808]", [2**63 - 1, -(2**63)]),
        (b'"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        ('"\N{GRINNING FACE}é\x7f"'.encode(), "\N{GRINNING FACE}é\x7f"),
        (b" {} ", {}),
        (b'{"": 1.5e3}', {"": 1500.0}),
        (b"null", None),
    ],
)
def test_parse_json_what_is_odd_but_sound_is_taken(body, value):
    parsed = parse_json(body)
    assert value is None or parsed == value


def test_parse_json_many_names_cost_no_more_than_their_number():
    """Fails, by taking minutes, when each name is compared with all others."""
    names = {f"n{number}": 1 for number in range(80_000)}
    body = json.dumps(names).encode()[:-1] + b', "z": 1, "z": 2}'
    with pytest.raises(MalformedBody, match="'z' twice"):
        parse_json(body)


def test_parse_json_a_long_name_above_many_values_costs_their_sum():
    """Fails, by using all memory, when pointers are written for sound values."""
    body = b'{"%s": [%s1]}' % (b"x" * 500_000, b"1," * 250_000)
    assert len(parse_json(body)["x" * 500_000]) == 250_001


def test_parse_json_a_refusal_quotes_no_more_than_a_little():
    with pytest.raises(MalformedBody) as refusal:
        parse_json(b'{"%s": NaN}' % (b"x" * 500_000))
    assert len(str(refusal.value)) < 500
    assert len(refusal.value.errors[0]["pointer"]) < 500
