from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from notifications import inbox, notifying


@shared_task
def prune() -> int:
    """Retention of inboxes, every hour. Returns how many notifications went."""
    return inbox.prune(timezone.now() - timedelta(days=settings.HUB_NOTIFICATION_DAYS))


@shared_task
def deliver_left_behind() -> int:
    """Letters of processes that died right after their commit, every ten seconds. Returns how many there were."""
    return notifying.deliver_left_behind()
