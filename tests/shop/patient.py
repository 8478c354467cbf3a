"""Settings of a hub whose broker takes back after a minute what a worker has not finished."""

from __future__ import annotations

from hub.settings import *  # noqa: F403
from hub.settings import CELERY_BROKER_TRANSPORT_OPTIONS

CELERY_BROKER_TRANSPORT_OPTIONS = {**CELERY_BROKER_TRANSPORT_OPTIONS, "visibility_timeout": 60}
