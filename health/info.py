"""What is running: for people who compare what they see with what they deployed."""

import functools
import platform
import tomllib

import django
from django.conf import settings

UNKNOWN = "unknown"


def info():
    """Return build, commit, application and runtime; nothing of the configuration."""
    project = _project()
    return {
        "app": {
            "name": "Organization Manager",
            "installationType": settings.INSTALLATION_TYPE,
        },
        "build": {
            "name": project.get("name", UNKNOWN),
            "version": project.get("version", UNKNOWN),
            "time": settings.BUILD_TIME or UNKNOWN,
        },
        "git": {"commit": {"id": settings.BUILD_COMMIT or UNKNOWN}},
        "runtime": {
            "python": platform.python_version(),
            "django": django.get_version(),
        },
    }


@functools.cache
def _project():
    try:
        text = (settings.BASE_DIR / "pyproject.toml").read_text(encoding="utf-8")
    except OSError:
        return {}
    return tomllib.loads(text)["project"]
