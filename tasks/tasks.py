from __future__ import annotations

from datetime import timedelta

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from tasks import exports, files, jobs, staff_import

__all__ = ["exports", "prune", "staff_import"]  # the worker finds the hub's own tracked tasks here


@shared_task
def prune() -> int:
    """Retention of jobs with their logs, and of files, every hour. Returns how many rows went."""
    return files.prune() + jobs.prune(timezone.now() - timedelta(days=settings.HUB_JOB_DAYS))
