"""Every kind of event, declared by the apps and known by name."""

import re
from dataclasses import dataclass, field

import jsonschema

REGISTRY = {}

_NAME = re.compile(r"[a-z_]+(\.[a-z_]+)+")


@dataclass(frozen=True, eq=False)
class EventType:
    """
    A kind of event: its name, where it goes, and what its ``data`` looks like.

    ``topic`` is a key of settings.TOPICS, or None for what only history keeps.
    ``schema`` is a JSON Schema of ``data``.
    """

    name: str
    topic: str | None
    summary: str
    schema: dict
    validator: object = field(init=False, repr=False)

    def __post_init__(self):
        if not _NAME.fullmatch(self.name) or self.name in REGISTRY:
            raise ValueError(f"{self.name!r} is malformed, or declared twice.")
        jsonschema.Draft202012Validator.check_schema(self.schema)
        validator = jsonschema.Draft202012Validator(self.schema)
        object.__setattr__(self, "validator", validator)
        REGISTRY[self.name] = self

    def __str__(self):
        return self.name


def data_schema(**properties):
    """Return the schema of an object that has just ``properties``, all required."""
    return {
        "type": "object",
        "properties": properties,
        "required": sorted(properties),
        "additionalProperties": False,
    }
