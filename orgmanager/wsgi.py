"""The WSGI entry point, for gunicorn."""

import os

from django.core.wsgi import get_wsgi_application

from .chunked_bodies import ChunkedBodies

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orgmanager.settings")

application = ChunkedBodies(get_wsgi_application())
