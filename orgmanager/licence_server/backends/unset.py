"""What stands where no licence server is set: everything else goes on."""

from ...errors import Unavailable
from .base import BaseLicenceServer


class LicenceServer(BaseLicenceServer):
    """Says what to set, whatever it is asked."""

    def validate_registration(self, token):
        raise _unset()

    def read_licence(self, token):
        raise _unset()

    def ping(self):
        raise _unset()


def _unset():
    return Unavailable(
        "No licence server is set, so nothing can be registered and no licence "
        "read. Set LICENSE_SERVER_URL, or LICENSE_SERVER_PUBLIC_KEY for a site "
        "without network."
    )
