"""What the OpenAPI document says that no view says by itself."""

import re

from drf_spectacular.extensions import (
    OpenApiAuthenticationExtension,
    OpenApiSerializerExtension,
)
from drf_spectacular.utils import OpenApiParameter

from .serializers import camel

PROBLEM = {
    "type": "object",
    "description": "A refusal, as RFC 9457 has it.",
    "required": ["type", "code", "title", "status", "detail", "instance", "requestId"],
    "properties": {
        "type": {"type": "string", "example": "urn:orgmanager:problem:invalid"},
        "code": {"type": "string", "description": "Stable; for programs."},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "What to do; for people."},
        "instance": {"type": "string", "description": "Path of the request."},
        "requestId": {"type": "string", "description": "The log has it too."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail", "code"],
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer."},
                    "detail": {"type": "string"},
                    "code": {"type": "string"},
                },
            },
        },
    },
}

_WAIT = {
    "Retry-After": {
        "description": "Seconds to wait before trying again.",
        "schema": {"type": "integer"},
    }
}
_LIMITS = {
    "RateLimit": {
        "description": "What is left: the limit's name, r = tries, t = seconds.",
        "schema": {"type": "string"},
    },
    "RateLimit-Policy": {
        "description": "What there is: the limit's name, q = tries, w = seconds.",
        "schema": {"type": "string"},
    },
}
_CHALLENGE = {
    "WWW-Authenticate": {
        "description": "How to prove who is calling.",
        "schema": {"type": "string"},
    }
}

# Status: (name in components, what it means, headers).
PROBLEMS = {
    "400": ("BadRequest", "The request was refused; errors says where.", {}),
    "401": ("Unauthenticated", "There is no valid bearer token.", _CHALLENGE),
    "403": ("Forbidden", "The caller may not do this.", {}),
    "404": ("NotFound", "There is no such thing, or not for this caller.", {}),
    "409": ("Conflict", "Not in the present state; code says which.", {}),
    "412": ("PreconditionFailed", "It was changed since it was read.", {}),
    "413": ("TooLarge", "The body is too large.", {}),
    "415": ("UnsupportedMediaType", "The body is of another type.", {}),
    "422": ("KeyReused", "The Idempotency-Key came with another body before.", {}),
    "428": ("PreconditionRequired", "If-Match is missing.", {}),
    "429": ("TooManyRequests", "Too many tries.", _WAIT | _LIMITS),
    "503": ("Unavailable", "A system that was needed does not answer.", _WAIT),
}

# For the views of versioned rows, and of POSTs that may be repeated.
IF_MATCH = OpenApiParameter(
    "If-Match",
    str,
    OpenApiParameter.HEADER,
    required=True,
    description="The ETag of what was read.",
)
ETAG = OpenApiParameter(
    "ETag",
    str,
    OpenApiParameter.HEADER,
    response=[200, 201],
    description="The version, for If-Match.",
)
IDEMPOTENCY_KEY = OpenApiParameter(
    "Idempotency-Key",
    str,
    OpenApiParameter.HEADER,
    description="Any text of the caller's choice: repeated within 24 hours, the "
    "request is answered and not done again.",
)


class BearerScheme(OpenApiAuthenticationExtension):
    """Tells the document how BearerAuthentication works."""

    target_class = "orgmanager.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema):
        return {
            "type": "http",
            "scheme": "bearer",
            "bearerFormat": "JWT",
            "description": "A token of the organization's realm; GET /org/api/env "
            "names the token endpoint.",
        }


class StrictBodies(OpenApiSerializerExtension):
    """Tells the document what CamelSerializer refuses: unknown and no fields."""

    target_class = "orgmanager.serializers.CamelSerializer"
    match_subclasses = True

    def map_serializer(self, auto_schema, direction):
        found = auto_schema._map_serializer(
            self.target, direction, bypass_extensions=True
        )
        if direction == "request":
            found["additionalProperties"] = False
            if self.target.partial:
                found["minProperties"] = 1
        return found


def only_one_prefix(endpoints):
    """Describe each route once: /api serves the same as /org/api."""
    return [each for each in endpoints if each[0].startswith("/org/api/")]


def add_problems(result, generator, request, public):
    """Add to every operation the problems that it can answer with."""
    components = result["components"]
    components.setdefault("schemas", {})["Problem"] = PROBLEM
    components["responses"] = {
        name: _response(description, headers)
        for name, description, headers in PROBLEMS.values()
    }
    for path, operations in result["paths"].items():
        for method, operation in operations.items():
            for status in _possible(path, method, operation):
                name, _, _ = PROBLEMS[status]
                reference = {"$ref": f"#/components/responses/{name}"}
                operation["responses"].setdefault(status, reference)
    return result


def add_summaries(result, generator, request, public):
    """Say in the list what each operation does: its id, as words."""
    for operations in result["paths"].values():
        for operation in operations.values():
            words = re.sub(r"([A-Z])", r" \1", operation["operationId"]).lower()
            operation.setdefault("summary", words.capitalize())
    return result


def name_as_on_the_wire(result, generator, request, public):
    """Write path parameters in camelCase, and merge patches where there are some."""
    result["paths"] = {
        re.sub(r"\{(\w+)\}", lambda match: f"{{{camel(match[1])}}}", path): operations
        for path, operations in result["paths"].items()
    }
    for operations in result["paths"].values():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter["name"] = camel(parameter["name"])
            if method != "patch":
                content = operation.get("requestBody", {}).get("content", {})
                content.pop("application/merge-patch+json", None)
    return result


def _possible(path, method, operation):
    yield from ("400", "429", "503")
    if "requestBody" in operation:
        yield from ("413", "415")
    if any("bearer" in each for each in operation.get("security", ())):
        yield from ("401", "403")
    if "{" in path:
        yield "404"
    if method != "get":
        yield "409"
    headers = {parameter["name"] for parameter in operation.get("parameters", ())}
    if "If-Match" in headers:
        yield from ("412", "428")
    if "Idempotency-Key" in headers:
        yield "422"


def _response(description, headers):
    schema = {"$ref": "#/components/schemas/Problem"}
    content = {"application/problem+json": {"schema": schema}}
    found = {"description": description, "content": content}
    return found | {"headers": headers} if headers else found
