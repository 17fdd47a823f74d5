"""What the OpenAPI document says that no view says by itself."""

from drf_spectacular.extensions import OpenApiAuthenticationExtension

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
                "properties": {
                    "pointer": {"type": "string", "description": "JSON pointer."},
                    "detail": {"type": "string"},
                    "code": {"type": "string"},
                },
            },
        },
    },
}

# Which refusals an operation can answer with, by what it has.
COMMON = {"503": "A system that was needed does not answer; see Retry-After."}
WITH_BODY = {
    "400": "The body was refused; see errors.",
    "413": "The body is too large.",
    "415": "The body is not application/json.",
}
WITH_TOKEN = {"401": "No valid bearer token.", "403": "Not allowed, or suspended."}
WITH_ID = {"404": "There is no such thing, or not for you."}


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


def add_problems(result, generator, request, public):
    """Add to every operation the problems that it can answer with."""
    result["components"].setdefault("schemas", {})["Problem"] = PROBLEM
    for path, operations in result["paths"].items():
        for operation in operations.values():
            possible = dict(COMMON)
            if "requestBody" in operation:
                possible |= WITH_BODY
            if any("bearer" in each for each in operation.get("security", [])):
                possible |= WITH_TOKEN
            if "{" in path:
                possible |= WITH_ID
            for status, description in possible.items():
                operation["responses"].setdefault(status, _response(description))
    return result


def only_one_prefix(endpoints):
    """Describe each route once: /api serves the same as /org/api."""
    return [each for each in endpoints if each[0].startswith("/org/api/")]


def _response(description):
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": description,
        "content": {"application/problem+json": {"schema": schema}},
    }
