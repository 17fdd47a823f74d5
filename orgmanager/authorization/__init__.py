"""Authorization: may this subject do that, here?"""

from ..backends import BackendProxy

authorization = BackendProxy("AUTHORIZATION")
