"""What waits to be done, for `/metrics` and `/admin/hub/`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.db.models import Count

from events.models import Event
from notifications.models import Letter
from tasks import queue
from tasks.models import Job, State


@dataclass(frozen=True)
class Waiting:
    events: int
    """Committed, and without an offset yet."""
    letters: int
    """Notifications that are not in the inboxes yet."""
    jobs: Mapping[str, int]
    """Queued ones, by queue."""
    messages: Mapping[str, int]
    """That the broker holds for workers, by queue; nothing while it is away."""


def now(*, has_redis: bool = True) -> Waiting:
    """Raises `DatabaseError`."""
    queued = Job.objects.filter(finished_at=None, state=State.QUEUED).exclude(queue="").order_by()
    jobs = dict(queued.values_list("queue").annotate(Count("pk")))
    return Waiting(
        events=Event.objects.filter(offset=None).count(),
        letters=Letter.objects.count(),
        jobs=jobs,
        messages=queue.lengths({queue.default_queue(), *jobs}) if has_redis else {},
    )
