"""Pages and API for a WSGI server; `/ws/` and `/events/` need the ASGI server beside it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

from events import about
from hub import in_use, serving

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")

django = get_wsgi_application()
serving.bound_statements()
in_use.stay()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    with about.saying(request_id=about.new_id()):
        return django(environ, start_response)
