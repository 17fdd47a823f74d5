"""What the outbox refuses."""

from ..errors import Conflict, Missing


class EventNotFound(Missing):
    code = "event_not_found"


class NotBlocked(Conflict):
    code = "not_blocked"


class OrderNotFound(Missing):
    code = "work_order_not_found"
