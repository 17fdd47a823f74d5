"""Every address, in one place."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularJSONAPIView, SpectacularSwaggerView

from . import first_run, front
from . import schema  # noqa: F401  registers what the document says of bearer tokens

api = [
    path("", include("organizations.urls")),
    path(
        "schema",
        SpectacularJSONAPIView.as_view(
            authentication_classes=[], permission_classes=[]
        ),
        name="schema",
    ),
    path(
        "docs",
        SpectacularSwaggerView.as_view(
            url_name="schema", authentication_classes=[], permission_classes=[]
        ),
    ),
]

urlpatterns = [
    path("org/api/", include(api)),
    path("api/", include(api)),  # for an ingress that strips /org
    path("", first_run.show, name="first_run"),
    path("admin/health/", admin.site.admin_view(front.health), name="console_health"),
    path("admin/", admin.site.urls),
]

if settings.IDENTITY["BACKEND"] == "orgmanager.identity.backends.local.Identity":
    urlpatterns.append(path("", include("orgmanager.identity.urls")))

handler400 = "orgmanager.problems.bad_request"
handler403 = "orgmanager.problems.permission_denied"
handler404 = "orgmanager.problems.page_not_found"
handler500 = "orgmanager.problems.server_error"
