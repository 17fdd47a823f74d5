"""Every address, in one place."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from . import docs, first_run, front
from .operators import views as operators

api = [
    path("", include("organizations.urls")),
    path("schema", docs.document),
    path("docs", docs.page),
    path("docs/assets/<str:name>", docs.asset),
]

urlpatterns = [
    path("org/api/", include(api)),
    path("api/", include(api)),  # for an ingress that strips /org
    path("", include("health.urls")),
    path("", first_run.show, name="first_run"),
    path("admin/health/", admin.site.admin_view(front.health), name="console_health"),
    path("oidc/", include("orgmanager.operators.urls")),
    path("admin/login/", operators.sign_in),
    path("admin/logout/", operators.sign_out),
    path("admin/", admin.site.urls),
]

if settings.IDENTITY["BACKEND"] == "orgmanager.identity.backends.local.Identity":
    urlpatterns.append(path("", include("orgmanager.identity.urls")))

handler400 = "orgmanager.problems.bad_request"
handler403 = "orgmanager.problems.permission_denied"
handler404 = "orgmanager.problems.page_not_found"
handler500 = "orgmanager.problems.server_error"
