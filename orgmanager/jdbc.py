"""JDBC addresses of PostgreSQL, as far as libpq knows the same things."""

import re
from typing import NamedTuple
from urllib.parse import unquote

_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_CHECKING_MODES = ("require", "verify-ca", "verify-full")  # libpq: with sslrootcert
_SERVER_TYPES = {
    "any": "any",
    "primary": "read-write",
    "master": "read-write",
    "secondary": "standby",
    "preferSecondary": "prefer-standby",
}


class Address(NamedTuple):
    """
    Where the database is.

    Shapes: ``host`` and ``port`` comma lists of equal length, as libpq takes them;
    ``schemas`` [str]; ``options`` {libpq keyword: value}.
    """

    host: str
    port: str
    name: str
    schemas: list
    options: dict


def parse(text):
    """
    Take ``jdbc:postgresql://host[:port][,host...]/database[?name=value&...]`` apart.

    Raises: ValueError that names the part which is wrong. A parameter that is
    not known is wrong: to ignore ``sslmode=`` misspelt would switch TLS off. So are
    certificates to check against in a mode that checks nothing.
    Source: pgjdbc documentation, "Connecting to the Database".
    """
    match = re.fullmatch(r"jdbc:postgresql://([^/?#]+)/([^/?#]+)(?:\?([^#]*))?", text)
    if not match:
        raise ValueError("is not a JDBC URL of PostgreSQL")
    servers, name, query = match.groups(default="")
    hosts, ports = zip(*map(_parse_server, servers.split(",")), strict=True)
    schemas, options = [], {}
    for parameter in filter(None, query.split("&")):
        key, _, value = parameter.partition("=")
        if key == "currentSchema":
            schemas = _parse_schemas(unquote(value))
            continue
        keyword, value = _parse_parameter(key, unquote(value))
        if keyword in options:
            raise ValueError(f"has the parameter {key!r} twice")
        options[keyword] = value
    if "sslrootcert" in options and options.get("sslmode") not in _CHECKING_MODES:
        raise ValueError(
            "has sslrootcert without sslmode=verify-full, and so would speak plain "
            "text with a server that has no TLS"
        )
    return Address(",".join(hosts), ",".join(ports), unquote(name), schemas, options)


def _parse_server(text):
    if "@" in text:
        raise ValueError("holds a user name; use the variables for name and password")
    match = re.fullmatch(
        r"(?:([A-Za-z0-9._-]+)|\[([0-9a-fA-F:.]+)\])(?::([0-9]{1,5}))?", text
    )
    if not match or not 0 < int(match[3] or 5432) < 65536:
        raise ValueError(f"has {text!r}, which is not host or host:port")
    return match[1] or match[2], match[3] or "5432"


def _parse_schemas(value):
    schemas = value.split(",")
    for schema in schemas:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", schema):
            raise ValueError(f"has currentSchema={value!r}, which is not a schema")
    return schemas


def _parse_parameter(key, value):
    """Return libpq's keyword and value for a parameter of JDBC."""
    if not value:
        raise ValueError(f"has the parameter {key!r} without a value")
    match key:
        case "sslmode":
            if value not in _SSL_MODES:
                modes = ", ".join(_SSL_MODES)
                raise ValueError(f"has sslmode={value!r}, which is none of {modes}")
            return "sslmode", value
        case "targetServerType":
            if value not in _SERVER_TYPES:
                types = ", ".join(_SERVER_TYPES)
                raise ValueError(
                    f"has targetServerType={value!r}, which is none of {types}"
                )
            return "target_session_attrs", _SERVER_TYPES[value]
        case "connectTimeout":
            if not re.fullmatch(r"[0-9]{1,4}", value):
                raise ValueError(f"has connectTimeout={value!r}, which is not seconds")
            return "connect_timeout", int(value)
        case "ApplicationName":
            return "application_name", value
        case "sslrootcert" | "sslcert" | "sslkey":
            return key, value
    raise ValueError(
        f"has the unknown parameter {key!r}; known are sslmode, sslrootcert, sslcert, "
        "sslkey, currentSchema, ApplicationName, connectTimeout, targetServerType"
    )
