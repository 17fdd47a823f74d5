import json

from django.conf import settings
from django.core.management.base import BaseCommand

from orgmanager.outbox.event_types import REGISTRY
from orgmanager.outbox.record import SOURCE


class Command(BaseCommand):
    help = "Print the AsyncAPI document of every event that is published."

    def handle(self, **options):
        self.stdout.write(json.dumps(document(), indent=2))


def document():
    """
    Return the AsyncAPI 3.0 document of the registered event types.

    Source: AsyncAPI 3.0; CloudEvents 1.0, Kafka binding, structured mode.
    """
    published = [each for each in REGISTRY.values() if each.topic]
    topics = sorted({each.topic for each in published})
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Organization Manager events",
            "version": "1",
            "description": (
                "At least once, in order per organization and topic. Drop a message "
                "whose (epoch, sequence) is not greater than the last one of its "
                "organization on this topic; read with isolation read_committed. A "
                "message of type event.skipped takes the number of one that could "
                "not be sent."
            ),
        },
        "channels": {name: _channel(name, published) for name in topics},
        "operations": {
            f"send-{name}": {
                "action": "send",
                "channel": {"$ref": f"#/channels/{name}"},
            }
            for name in topics
        },
        "components": {
            "messages": {each.name: _message(each) for each in published},
            "schemas": {each.name: each.schema for each in published},
        },
    }


def _channel(name, published):
    return {
        "address": settings.TOPICS[name],
        "messages": {
            each.name: {"$ref": f"#/components/messages/{each.name}"}
            for each in published
            if each.topic == name
        },
        "bindings": {"kafka": {"bindingVersion": "0.5.0"}},
    }


def _message(event_type):
    text = {"type": "string"}
    envelope = {
        "specversion": {"const": "1.0"},
        "id": text | {"format": "uuid"},
        "source": {"const": SOURCE},
        "type": {"const": event_type.name},
        "subject": text,
        "time": text | {"format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "organizationid": text | {"format": "uuid"},
        "epoch": text,
        "sequence": text,
        "data": {"$ref": f"#/components/schemas/{event_type.name}"},
    }
    names = (
        "Fx-Organization-Id",
        "event-id",
        "event-type",
        "sequence",
        "epoch",
    )
    return {
        "name": event_type.name,
        "summary": event_type.summary,
        "contentType": "application/cloudevents+json",
        "headers": {
            "type": "object",
            "properties": {name: text for name in (*names, "traceparent")},
            "required": list(names),
        },
        "payload": {
            "type": "object",
            "properties": envelope | {"traceparent": text},
            "required": list(envelope),
        },
        "bindings": {
            "kafka": {"key": text | {"description": "The organization's id."}}
        },
    }
