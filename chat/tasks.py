from __future__ import annotations

from celery import shared_task

from chat import exports, pruning

__all__ = ["exports", "prune"]  # the worker finds the tracked task here


@shared_task
def prune() -> int:
    """What deleted rooms left behind, every ten minutes. Returns how many rows went."""
    return pruning.prune()
