from django.apps import AppConfig


class OperatorsConfig(AppConfig):
    name = "orgmanager.operators"
    label = "operators"
    verbose_name = "Operators"
