from importlib import import_module

from django.apps import AppConfig
from django.conf import settings


class OrgmanagerConfig(AppConfig):
    name = "orgmanager"
    verbose_name = "Organization Manager"

    def ready(self):
        from . import checks  # noqa: F401  registers them
        from .outbox import worker

        # Every sign-in that is begun leaves a session, also of who never comes back.
        sessions = import_module(settings.SESSION_ENGINE).SessionStore
        worker.SCHEDULES.append(sessions.clear_expired)
