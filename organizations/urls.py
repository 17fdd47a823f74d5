"""The addresses of this app, below /org/api and /api."""

from django.urls import path

from . import views

urlpatterns = [
    path("env", views.EnvironmentView.as_view()),
    path("org/single", views.RegistrationView.as_view()),
    path("organizations/<uuid:organization_id>", views.OrganizationView.as_view()),
    path(
        "organizations/<uuid:organization_id>/events",
        views.OrganizationEventsView.as_view(),
    ),
    path(
        "internal/organizations/<uuid:organization_id>/realm",
        views.RealmView.as_view(),
    ),
    path(
        "internal/organizations/<uuid:organization_id>/licence",
        views.LicenceView.as_view(),
    ),
]
