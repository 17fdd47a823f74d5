"""The broker: where events go, and where messages come from."""

from ..backends import BackendProxy

broker = BackendProxy("BROKER")
