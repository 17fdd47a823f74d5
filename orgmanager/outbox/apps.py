from django.apps import AppConfig


class OutboxConfig(AppConfig):
    name = "orgmanager.outbox"
    label = "outbox"
    verbose_name = "Events and work"

    def ready(self):
        from . import receivers  # noqa: F401  connecting needs the models loaded
