from __future__ import annotations

from celery import shared_task

from chat import exports, mentions, pruning

__all__ = ["exports", "prune"]  # the worker finds the tracked task here


@shared_task
def prune() -> int:
    """What deleted rooms left behind, every ten minutes. Returns how many rows went."""
    return pruning.prune()


@shared_task
def take_back_left_behind() -> int:
    """What mentions of deleted rooms told and nobody has taken back yet, every ten seconds. Returns how many mentions."""
    return mentions.take_back_left_behind()
