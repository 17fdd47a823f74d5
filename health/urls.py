"""The addresses of the actuator."""

from django.urls import path

from . import views

urlpatterns = [
    path("actuator/health", views.health),
    path("actuator/health/liveness", views.liveness),
    path("actuator/health/readiness", views.readiness),
    path("actuator/health/<str:name>", views.component),
    path("actuator/info", views.show_info),
    path("actuator/metrics", views.show_metrics),
    path("actuator/prometheus", views.show_metrics),
]
