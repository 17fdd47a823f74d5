"""Which events exist here, where they go, and whose work they are."""

from orgmanager.outbox.event_types import EventType, data_schema

TEXT = {"type": "string"}
UUID = {"type": "string", "format": "uuid"}
TIME = {"type": "string", "format": "date-time"}
ORGANIZATION = "organization_events"

# Destinations of work orders, each served by a function of effects.py.
USERS_REALM = "users-realm"
SERVICE_ACCOUNT_REALM = "service-account-realm"
RELATIONSHIPS = "relationships"
ACTIVATION = "activation"

REGISTRATION_STARTED = EventType(
    "registration.started",
    topic=None,
    summary="A registration token was accepted; the organization is being made.",
    schema=data_schema(code=TEXT, tokenId=TEXT),
)
REGISTRATION_CANCELLED = EventType(
    "registration.cancelled",
    topic=None,
    summary="A registration was given up before its organization existed.",
    schema=data_schema(code=TEXT),
)
CREATED = EventType(
    "organization.created",
    topic=ORGANIZATION,
    summary="The organization exists, with its realms and its first admin.",
    schema=data_schema(code=TEXT, name=TEXT, installationType=TEXT),
)
USER_DISABLED = EventType(
    "user.disabled",
    topic=ORGANIZATION,
    summary="The user can do nothing in the organization until enabled.",
    schema=data_schema(userId=UUID),
)
USER_ENABLED = EventType(
    "user.enabled",
    topic=ORGANIZATION,
    summary="The user has the roles again that they had.",
    schema=data_schema(userId=UUID),
)
LICENCE_SYNCED = EventType(
    "licence.synced",
    topic=ORGANIZATION,
    summary="The licence server said what the organization may use.",
    schema=data_schema(
        plan=TEXT,
        validFrom=TIME,
        validTo=TIME,
        limits={"type": "object"},
        features={"type": "array", "items": TEXT},
        source=TEXT,
    ),
)
LICENCE_EXPIRED = EventType(
    "licence.expired",
    topic=ORGANIZATION,
    summary="The licence has run out. Nothing that runs is stopped by it.",
    schema=data_schema(plan=TEXT, validTo=TIME),
)

# What has to be brought to the row's state after which event, in this order.
WORK = {
    REGISTRATION_STARTED: (
        SERVICE_ACCOUNT_REALM,
        USERS_REALM,
        RELATIONSHIPS,
        ACTIVATION,
    ),
    REGISTRATION_CANCELLED: (USERS_REALM, SERVICE_ACCOUNT_REALM, RELATIONSHIPS),
    USER_DISABLED: (RELATIONSHIPS,),
    USER_ENABLED: (RELATIONSHIPS,),
}

# Taken before other work: nobody should keep access because a queue is long.
URGENT = {USER_DISABLED, REGISTRATION_CANCELLED}
