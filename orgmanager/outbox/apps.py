from django.apps import AppConfig


class OutboxConfig(AppConfig):
    name = "orgmanager.outbox"
    label = "outbox"
    verbose_name = "Events and work"

    def ready(self):
        from .. import metrics as exposition
        from . import metrics, receivers  # noqa: F401  they need the models

        exposition.READERS.append(metrics.read)
