"""A script outside as a job: it says by HTTP how far it is, and its silence is its end."""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import transaction
from django.utils.translation import gettext as _

from events import topics, whisper
from tasks import jobs, logs
from tasks.errors import NoSuchJob, NotPossible
from tasks.models import EXTERNAL, NOTE_MAX, Job, State

LEASE: Final = 60
LEASE_LEAST: Final = 5
LEASE_MOST: Final = 3600
"""Seconds of silence after which a script counts as lost."""
WHISPERS: Final = 5
"""About one job in a second; on the dashboard one."""
_REMEMBERED: Final = 1000
"""Jobs of which this process knows what it last whispered."""


def start(owner: User, title: str, lease: int = LEASE) -> Job:
    """A job that runs already: the script that reports it does."""
    with transaction.atomic():
        job = jobs.create(kind=EXTERNAL, title=title, owner=owner)
        started = jobs.claim(job.pk, job.attempt, lease)
    if started is None:
        raise RuntimeError(f"job {job.pk} was started by somebody else")
    return started


def progress(job: Job, **place: Any) -> Job:
    """`done` never goes back; of `total` (None: unknown) and `note` what is not given stays. Raises NotPossible."""
    if "note" in place:
        place["note"] = jobs.clean(place["note"], NOTE_MAX)
    return _heard(job, **place)


def log(job: Job, text: str) -> Job:
    """Add lines to the log. Raises NotPossible."""
    job = _heard(job)
    logs.append(job.pk, job.attempt, text)
    return job


def heartbeat(job: Job) -> Job:
    """Keep the lease. Raises NotPossible."""
    return _heard(job)


def finish(job: Job, ok: bool, summary: str = "", error: str = "") -> Job:
    """The first end counts: what has ended stays as it is. Who stops because it was asked to is cancelled."""
    _require_external(job)
    job = _fresh(job)
    if job.state == State.STARTED:
        state = State.SUCCEEDED
        if not ok:
            state = State.CANCELLED if job.cancel_requested_at else State.FAILED
        jobs.finish(job.pk, job.attempt, state, summary=summary, error=error)
        job = _fresh(job)
    _told.forget(job.pk)
    return job


def _heard(job: Job, **place: Any) -> Job:
    _require_external(job)
    if not jobs.beat(job, **place):
        state = _fresh(job).state
        raise NotPossible(_("The job runs no longer: it is %(state)s.") % {"state": state})
    job = _fresh(job)
    _tell(job)
    return job


def _require_external(job: Job) -> None:
    if job.kind != EXTERNAL:
        raise NotPossible(_("The hub itself runs this job; no script may report for it."))


def _fresh(job: Job) -> Job:
    found = Job.objects.filter(pk=job.pk).first()
    if found is None:
        raise NoSuchJob
    return found


@dataclass
class _Said:
    """What this process last whispered about a job, and when."""

    place: tuple[int, int | None, str] = (0, None, "")
    times: deque[float] = field(default_factory=lambda: deque(maxlen=WHISPERS))
    short: tuple[int, int | None] = (0, None)
    short_at: float = float("-inf")


class _Told:
    """Decides what is whispered. What is held back follows with the next sign of life; the row has it at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: OrderedDict[uuid.UUID, _Said] = OrderedDict()

    def due(self, job: Job) -> tuple[bool, bool]:
        """Whether those who watch the job, and those who watch the dashboard, are to hear of it now."""
        now = time.monotonic()
        with self._lock:
            said = self._jobs.setdefault(job.pk, _Said())
            self._jobs.move_to_end(job.pk)
            if len(self._jobs) > _REMEMBERED:
                self._jobs.popitem(last=False)
            if job.done < said.place[0]:
                return False, False  # a slower thread's, overtaken
            place, short = (job.done, job.total, job.note), (job.done, job.total)
            is_free = len(said.times) < WHISPERS or now - said.times[0] >= 1
            is_told = place != said.place and is_free
            is_listed = short != said.short and now - said.short_at >= 1
            if is_told:
                said.place = place
                said.times.append(now)
            if is_listed:
                said.short, said.short_at = short, now
        return is_told, is_listed

    def forget(self, job_id: uuid.UUID) -> None:
        with self._lock:
            self._jobs.pop(job_id, None)


_told = _Told()


def _tell(job: Job) -> None:
    is_told, is_listed = _told.due(job)
    if is_told:
        whisper(topics.job(job.pk), "job.progress", jobs.way(job))
    if is_listed:
        whisper(topics.DASHBOARD, "job.progress", jobs.short(job))
