"""One name per external system, built from its setting on first use."""

import threading

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string


class BackendProxy:
    """
    Stand-in for ``settings.<setting>["BACKEND"]``, built on first use.

    First use is after gunicorn has forked, so no socket is shared between
    processes. ``override_settings()`` discards the instance.
    """

    def __init__(self, setting):
        self._setting = setting
        self._backend = None
        self._lock = threading.Lock()
        setting_changed.connect(self._reset, weak=False)

    def __getattr__(self, name):
        with self._lock:
            if self._backend is None:
                options = {**getattr(settings, self._setting)}
                self._backend = import_string(options.pop("BACKEND"))(**options)
        return getattr(self._backend, name)

    def _reset(self, *, setting, **kwargs):
        if setting == self._setting:
            self._backend = None
