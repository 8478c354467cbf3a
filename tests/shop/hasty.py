"""Settings of a hub whose broker takes back after three seconds what a worker has not finished."""

from __future__ import annotations

from hub.settings import *  # noqa: F403
from hub.settings import CELERY_BROKER_TRANSPORT_OPTIONS

CELERY_BROKER_TRANSPORT_OPTIONS = {
    **CELERY_BROKER_TRANSPORT_OPTIONS,
    "visibility_timeout": 3,
    "unacked_restore_interval": 1,
    "unacked_restore_throttle": 1,
}
