"""The document of all events is what the code sends."""

import json
from pathlib import Path

import jsonschema

from orgmanager.outbox.management.commands.print_asyncapi import document

from .test_record import record_one

STORED = Path(__file__).resolve().parents[2] / "deploy" / "asyncapi.json"


def test_the_stored_document_is_fresh():
    """Run: manage.py print_asyncapi > deploy/asyncapi.json"""
    stored, fresh = json.loads(STORED.read_text()), document()
    for part in ("messages", "schemas"):  # the tests declare events of their own
        made_up = [name for name in fresh["components"][part] if "test." in name]
        for name in made_up:
            del fresh["components"][part][name]
    for channel in fresh["channels"].values():
        channel["messages"] = {
            name: message
            for name, message in channel["messages"].items()
            if "test." not in name
        }
    assert stored == fresh


def test_a_recorded_event_fits_the_document(db):
    event = record_one()
    described = document()
    message = described["components"]["messages"]["test.happened"]
    schema = message["payload"] | {"components": described["components"]}
    jsonschema.validate(json.loads(bytes(event.value)), schema)
    jsonschema.validate(event.headers, message["headers"])
