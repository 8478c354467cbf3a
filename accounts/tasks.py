from __future__ import annotations

from celery import shared_task

from accounts import attempts, idempotency, sessions


@shared_task
def prune() -> int:
    """Dead sessions' rows, old answers and old attempts, every hour. Returns how many rows went."""
    return sessions.prune() + idempotency.prune() + attempts.prune()
