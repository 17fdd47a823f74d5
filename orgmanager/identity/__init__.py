"""The identity provider: one realm per organization, one for service accounts."""

from ..backends import BackendProxy

identity = BackendProxy("IDENTITY")
