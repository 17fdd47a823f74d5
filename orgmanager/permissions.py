"""Who may call routes that are not about one organization's members."""

from rest_framework.permissions import BasePermission

LICENCE_CLIENT = "flowx-license-sa"


class IsServiceAccount(BasePermission):
    """
    Services of the platform: role SA_FLOWX in the service-account realm.

    A principal of that kind has the role, or its token would not have passed.
    """

    message = (
        "This address is for services of the platform: sign in with a client of the "
        "service-account realm that has the role SA_FLOWX."
    )

    def has_permission(self, request, view):
        principal = request.user
        return principal is not None and principal.kind == "service_account"


class IsLicenceService(IsServiceAccount):
    """The licence service alone."""

    message = f"This address is for the licence service: sign in as {LICENCE_CLIENT}."

    def has_permission(self, request, view):
        return (
            super().has_permission(request, view)
            and request.user.client_id == LICENCE_CLIENT
        )
