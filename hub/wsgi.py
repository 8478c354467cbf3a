"""Pages and API for a WSGI server; `/ws/` and `/events/` need the ASGI server beside it."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

from hub import in_use, serving

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")

application = get_wsgi_application()
serving.bound_statements()
in_use.stay()
