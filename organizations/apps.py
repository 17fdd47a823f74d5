from django.apps import AppConfig


class OrganizationsConfig(AppConfig):
    name = "organizations"
    verbose_name = "Organizations"

    def ready(self):
        from orgmanager.outbox import work, worker

        from . import effects, events, inbox, operations, receivers  # noqa: F401

        work.register(events.USERS_REALM, effects.converge_users_realm)
        work.register(
            events.SERVICE_ACCOUNT_REALM, effects.converge_service_account_realm
        )
        work.register(events.RELATIONSHIPS, effects.converge_relationships)
        work.register(
            events.ACTIVATION, lambda pk: operations.activate(pk, actor="worker")
        )
        inbox.register()
        worker.AT_START.append(effects.apply_schema)
        worker.SCHEDULES.append(operations.expire_licences)
