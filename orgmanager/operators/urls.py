"""Where the identity provider sends browsers back to; the library's own names."""

from django.urls import path

from . import views

urlpatterns = [
    path("authenticate/", views.Begin.as_view(), name="oidc_authentication_init"),
    path("callback/", views.Callback.as_view(), name="oidc_authentication_callback"),
]
