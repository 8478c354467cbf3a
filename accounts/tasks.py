from __future__ import annotations

from celery import shared_task

from accounts import attempts, idempotency, resets, sessions, setup


@shared_task
def prune() -> int:
    """Dead sessions' rows, old answers, attempts and set-up tokens, every hour. Returns how many rows went."""
    return sessions.prune() + idempotency.prune() + attempts.prune() + setup.prune()


@shared_task
def send_resets() -> int:
    """Mail the password resets that wait, at once and every half minute."""
    return resets.send_due()
