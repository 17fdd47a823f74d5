"""The paths of the local realms, as Keycloak has them."""

from django.urls import path

from . import views

urlpatterns = [
    path("realms/<str:realm>/protocol/openid-connect/token", views.token),
    path("realms/<str:realm>/protocol/openid-connect/certs", views.certs),
    path("realms/<str:realm>/.well-known/openid-configuration", views.discovery),
]
