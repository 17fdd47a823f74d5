from django.apps import AppConfig

from orgmanager.metrics import READERS


class HealthConfig(AppConfig):
    name = "health"
    verbose_name = "Health"

    def ready(self):
        from .metrics import read  # the probes need the models loaded

        READERS.append(read)
