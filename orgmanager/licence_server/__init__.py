"""The licence server: who may register, and what an organization may use."""

from ..backends import BackendProxy

licence_server = BackendProxy("LICENCE_SERVER")
