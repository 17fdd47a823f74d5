"""
What production refuses, with the way out.

Variables that are missing or unreadable stop settings.py already; these look at
what it made of the rest. ``check --deploy`` is not needed: the rules depend on
the profile, and every command and the web server apply them.
"""

from django.conf import settings
from django.core.checks import Error, Warning, register
from django.utils.module_loading import import_string

from .keyring import weakness

TAG = "orgmanager"
ROLES = {
    "IDENTITY": "SECURITY_OAUTH2_BASE_SERVER_URL",
    "AUTHORIZATION": "FLOWX_LIB_CASCLIENT_SPICEDB_HOST",
    "BROKER": "SPRING_KAFKA_BOOTSTRAP_SERVERS",
    "LICENCE_SERVER": "LICENSE_SERVER_URL",
}


@register(TAG)
def check_master_keys(app_configs, **kwargs):
    reason = weakness(settings.MASTER_KEY)
    if not reason:
        return []
    if settings.PRODUCTION:
        return [
            Error(
                f"LLM_ENCRYPTION_MASTER_KEY {reason}.",
                hint="Set it to base64: and the output of: openssl rand -base64 32. "
                "Keys encrypted before: name the old one in "
                "LLM_ENCRYPTION_DECRYPT_ONLY_KEYS.",
                id="orgmanager.E001",
            )
        ]
    return [
        Warning(
            f"LLM_ENCRYPTION_MASTER_KEY {reason}.",
            hint="Good enough to try things out; production refuses it.",
            id="orgmanager.W001",
        )
    ]


@register(TAG)
def check_no_local_backend(app_configs, **kwargs):
    if not settings.PRODUCTION:
        return []
    local = {
        name: variable
        for name, variable in ROLES.items()
        if ".backends.local." in getattr(settings, name)["BACKEND"]
    }
    if settings.DATABASES["default"]["ENGINE"].endswith("sqlite3"):
        local["DATABASES"] = "SPRING_DATASOURCE_URL"
    if "locmem" in settings.CACHES["default"]["BACKEND"]:
        local["CACHES"] = "SPRING_DATA_REDIS_HOST"
    return [
        Error(
            f"settings.{name} is the one for a single machine.",
            hint=f"Set {variable}.",
            id="orgmanager.E002",
        )
        for name, variable in local.items()
    ]


@register(TAG)
def check_backends_exist(app_configs, **kwargs):
    errors = []
    for name, variable in ROLES.items():
        path = getattr(settings, name)["BACKEND"]
        try:
            import_string(path)
        except ImportError as error:
            errors.append(
                Error(
                    f"settings.{name} names {path}, which cannot be imported: {error}.",
                    hint=f"{variable} chooses it; unset, production rules apart, a "
                    "local one serves.",
                    id="orgmanager.E003",
                )
            )
    return errors


@register(TAG)
def check_debug(app_configs, **kwargs):
    if not (settings.PRODUCTION and settings.DEBUG):
        return []
    return [
        Error(
            "settings.DEBUG is on: error pages would show settings and data.",
            hint="Remove DEBUG = True from settings.py.",
            id="orgmanager.E004",
        )
    ]


@register(TAG, deploy=True)
def check_addresses(app_configs, **kwargs):
    """What works, but most likely not as meant."""
    warnings = []
    if settings.PUBLIC_BASE_URL == settings.SELF_BASE_URL:
        warnings.append(
            Warning(
                f"Links that people get lead to {settings.PUBLIC_BASE_URL}, and so "
                "does the way back from signing in.",
                hint="Set PUBLIC_BASE_URL to what their browsers can reach.",
                id="orgmanager.W002",
            )
        )
    if settings.OPERATOR_REALM and not settings.OPERATOR_CLIENT_SECRET:
        warnings.append(
            Warning(
                f"Client {settings.OPERATOR_CLIENT_ID} signs operators in without a "
                "secret.",
                hint="Set SECURITY_OAUTH2_OPERATOR_CLIENT_SECRET, unless that client "
                "is public and demands PKCE with S256.",
                id="orgmanager.W004",
            )
        )
    if not settings.ALLOWED_REDIRECT_URIS:
        warnings.append(
            Warning(
                "Users of a new realm cannot be sent anywhere after signing in.",
                hint="Set FLOWX_DEFAULT_DESIGNER_HOME_URI and "
                "FLOWX_DEFAULT_RUNTIME_HOME_URI.",
                id="orgmanager.W003",
            )
        )
    return warnings
