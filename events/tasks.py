from __future__ import annotations

from celery import shared_task
from django.conf import settings

from events import log


@shared_task
def prune() -> int:
    """Retention of the log, every ten minutes. Returns how many events went."""
    return log.prune(settings.HUB_RETENTION_DAYS, settings.HUB_RETENTION_COUNT)
