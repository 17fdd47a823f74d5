"""What belongs to the request or task at hand, for logs and event headers only."""

from contextvars import ContextVar

request_id = ContextVar("request_id", default="")
trace_parent = ContextVar("trace_parent", default="")  # W3C traceparent, or empty
organization_id = ContextVar("organization_id", default="")
