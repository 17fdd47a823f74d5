"""How one variable is read, and what is said when it cannot be."""

from ipaddress import ip_network

import pytest
from django.core.exceptions import ImproperlyConfigured

from orgmanager import jdbc
from orgmanager.env import (
    Environment,
    expand,
    parse_server,
)

CANARY = "canary-7f3a9c51"


# Reading one variable


@pytest.mark.parametrize(
    "read, value, reason",
    [
        (lambda env: env.integer("V", default=5, help=""), "5s", "a whole number"),
        (lambda env: env.integer("V", default=5, maximum=9, help=""), "10", "from 0 t"),
        (lambda env: env.integer("V", default=5, help=""), "9" * 5000, "a whole numbe"),
        (lambda env: env.duration("V", default="5s", help=""), "5", "with its unit"),
        (lambda env: env.duration("V", default="5s", help=""), "0s", "more than noth"),
        (lambda env: env.milliseconds("V", default=5, help=""), "5s", "a whole number"),
        (lambda env: env.size("V", default="5MB", help=""), "5 apples", "not a size"),
        (lambda env: env.boolean("V", default=True, help=""), "maybe", "true or false"),
        (lambda env: env.uuid("V", help=""), "26ef7b5f", "is not a UUID"),
        (
            lambda env: env.uuid("V", help=""),
            "26ef7b5f-b463-4375-88c8-xxxxxxxxxxxx",
            "is not a UUID",
        ),
        (lambda env: env.url("V", help=""), "keycloak:8080", "http or https"),
        (lambda env: env.url("V", help=""), "https://", "http or https"),
        (lambda env: env.url("V", help=""), "https://a b", "http or https"),
        (lambda env: env.url("V", help=""), "https://host:99999", "http or https"),
        (lambda env: env.url("V", help=""), "https://[::1", "http or https"),
        (lambda env: env.url("V", help=""), "https://host/?a=1", "not with ? or #"),
        (
            lambda env: env.choice("V", options=["A", "B"], default="A", help=""),
            "C",
            "is not A or B",
        ),
        (lambda env: env.words("V", parse=parse_server, help=""), "a:1,b", "has 'b'"),
        (lambda env: env.words("V", parse=ip_network, help=""), "10/x", "v6 network"),
        (lambda env: env.text("V", help=""), "${W}", "refers to ${W}, which is n"),
        (lambda env: env.text("V", help=""), "${V}", "refers back to itself"),
        (lambda env: env.text("V", help=""), "${" * 5000 + "}" * 5000, "too deeply"),
    ],
)
def test_read_bad_value_names_variable_and_reason(read, value, reason):
    env = Environment({"V": value})
    read(env)
    with pytest.raises(ImproperlyConfigured) as caught:
        env.finish()
    assert f"V={value!r}" in str(caught.value)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    "read, value, expected",
    [
        (lambda env: env.integer("V", default=5, help=""), "0", 0),
        (lambda env: env.duration("V", default="5s", help=""), "250ms", 0.25),
        (lambda env: env.duration("V", default="5s", help=""), "7d", 604_800),
        (lambda env: env.milliseconds("V", default=5, help=""), "1500", 1.5),
        (lambda env: env.size("V", default="5MB", help=""), "50MB", 52_428_800),
        (lambda env: env.size("V", default="5MB", help=""), "512", 512),
        (lambda env: env.boolean("V", default=True, help=""), "FALSE", False),
        (
            lambda env: env.uuid("V", help=""),
            "26EF7B5F-B463-4375-88C8-0123456789AB",
            "26ef7b5f-b463-4375-88c8-0123456789ab",
        ),
        (lambda env: env.url("V", help=""), "https://host/auth/", "https://host/auth"),
        (
            lambda env: env.choice("V", options=["when-known"], default="", help=""),
            "WHEN_KNOWN",
            "when-known",
        ),
        (lambda env: env.words("V", help=""), "a, b,,", ["a", "b"]),
        (
            lambda env: env.words("V", parse=parse_server, help=""),
            "kafka-0:9092,[::1]:9093",
            ["kafka-0:9092", "[::1]:9093"],
        ),
    ],
)
def test_read_good_value_converts_it(read, value, expected):
    env = Environment({"V": value})
    assert read(env) == expected
    env.finish()


def test_read_several_names_first_set_wins():
    env = Environment({"NEW": "", "OLD": "b", "OLDEST": "c"})
    assert env.text("NEW", "OLD", "OLDEST", default="d", help="") == "b"
    assert env.source("NEW") == "OLD"
    assert env.text("NONE", default="d", help="") == "d"
    assert env.source("NONE") == ""


def test_read_several_bad_values_reports_all_of_them():
    env = Environment({"A": "x", "B": "y", "C": "z"})
    for name in "ABC":
        env.integer(name, default=1, help="")
    with pytest.raises(ImproperlyConfigured) as caught:
        env.finish()
    assert all(f"{name}=" in str(caught.value) for name in "ABC")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("plain", "plain"),
        ("${HOST}:${PORT}", "db:5432"),
        ("${NONE:fallback}", "fallback"),
        ("${NONE:}", ""),
        ("${EMPTY:fallback}", ""),
        ("${NONE:${HOST}}", "db"),
        ("${HOST:${NONE}}", "db"),
        ("${${WHICH}}", "db"),
        ("${URL}/realms/{orgId}", "https://db/auth/realms/{orgId}"),
        ("${NONE:https://x/{orgId}}/y", "https://x/{orgId}/y"),
        ("${NONE:a:b}", "a:b"),
        ("${data.host-name}", "relaxed"),
        ("{orgId} $HOST ${HOST", "{orgId} $HOST ${HOST"),
    ],
)
def test_expand_references_resolves_them_as_spring_does(text, expected):
    environ = {
        "HOST": "db",
        "PORT": "5432",
        "EMPTY": "",
        "WHICH": "HOST",
        "URL": "https://${HOST}/auth",
        "DATA_HOST_NAME": "relaxed",
    }
    assert expand(text, environ) == expected


def test_expand_circle_of_references_names_it():
    with pytest.raises(ValueError, match="refers back to itself"):
        expand("${A}", {"A": "${B}", "B": "${C}", "C": "x${A}"})


# Secrets


def test_read_secret_from_file_drops_the_line_end(tmp_path):
    path = tmp_path / "password"
    path.write_text(" pass word \n")
    env = Environment({"PASSWORD_FILE": str(path)})
    assert env.secret("PASSWORD", help="") == " pass word "
    assert env.source("PASSWORD") == "PASSWORD_FILE"
    assert " pass word " in env.secrets


def test_read_secret_from_bad_file_names_the_variable(tmp_path):
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    environ = {
        "A_FILE": str(tmp_path / "missing"),
        "B_FILE": str(tmp_path / "empty"),
        "C_FILE": str(tmp_path / "binary"),
        "D_FILE": CANARY,
    }
    env = Environment(environ)
    for name in "ABCD":
        env.secret(name, help="")
    with pytest.raises(ImproperlyConfigured) as caught:
        env.finish()
    message = str(caught.value)
    assert "missing' that cannot be read (No such file or directory)" in message
    assert "empty' that is empty" in message
    assert "binary' that cannot be read (not UTF-8 text)" in message
    assert "D_FILE names a file that cannot be read" in message
    assert CANARY not in message


# JDBC addresses


def test_parse_jdbc_with_parameters_gives_libpq_its_words():
    address = jdbc.parse(
        "jdbc:postgresql://a:5433,b,[::1]:5434/orgs%20db?sslmode=verify-full"
        "&currentSchema=org,public&ApplicationName=org%20manager&connectTimeout=7"
        "&sslrootcert=/etc/ca.pem&targetServerType=primary"
    )
    assert address.host == "a,b,::1"
    assert address.port == "5433,5432,5434"
    assert address.name == "orgs db"
    assert address.schemas == ["org", "public"]
    assert address.options == {
        "sslmode": "verify-full",
        "application_name": "org manager",
        "connect_timeout": 7,
        "sslrootcert": "/etc/ca.pem",
        "target_session_attrs": "read-write",
    }


@pytest.mark.parametrize(
    "text, reason",
    [
        ("postgresql://db/orgs", "not a JDBC URL of PostgreSQL"),
        ("jdbc:mysql://db/orgs", "not a JDBC URL of PostgreSQL"),
        ("jdbc:postgresql://db", "not a JDBC URL of PostgreSQL"),
        ("jdbc:postgresql:///orgs", "not a JDBC URL of PostgreSQL"),
        ("jdbc:postgresql://db:0/orgs", "'db:0', which is not host or host:port"),
        ("jdbc:postgresql://a,,b/orgs", "'', which is not host or host:port"),
        ("jdbc:postgresql://user:pw@db/orgs", "holds a user name"),
        ("jdbc:postgresql://db/orgs?sslmod=require", "unknown parameter 'sslmod'"),
        ("jdbc:postgresql://db/orgs?password=x", "unknown parameter 'password'"),
        ("jdbc:postgresql://db/orgs?sslmode=on", "sslmode='on', which is none of"),
        ("jdbc:postgresql://db/orgs?sslmode", "'sslmode' without a value"),
        ("jdbc:postgresql://db/orgs?sslmode=allow&sslmode=require", "'sslmode' twice"),
        ("jdbc:postgresql://db/orgs?currentSchema=a b;", "which is not a schema"),
        ("jdbc:postgresql://db/orgs?connectTimeout=5s", "which is not seconds"),
        ("jdbc:postgresql://db/orgs?targetServerType=best", "which is none of"),
        ("jdbc:postgresql://db/orgs?sslrootcert=/ca.pem", "would speak plain text"),
        (
            "jdbc:postgresql://db/orgs?sslrootcert=/ca.pem&sslmode=prefer",
            "would speak plain text",
        ),
    ],
)
def test_parse_jdbc_bad_address_names_the_part(text, reason):
    with pytest.raises(ValueError, match=reason):
        jdbc.parse(text)
