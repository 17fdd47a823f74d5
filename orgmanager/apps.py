from django.apps import AppConfig


class OrgmanagerConfig(AppConfig):
    name = "orgmanager"
    verbose_name = "Organization Manager"

    def ready(self):
        from . import checks  # noqa: F401  registers them
