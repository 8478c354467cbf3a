"""Notices what no process can report of itself: that it is gone.

A thread beside beat, the one clock of an installation. It needs no worker, which may be what is missing, and no Redis.
Everything it does is a compare-and-set: two of them do no more than one.
"""

from __future__ import annotations

import logging
import threading
import time
from datetime import timedelta
from typing import Any, Final

import redis
from celery import signals
from django.db import (
    IntegrityError,
    InterfaceError,
    OperationalError,
    connections,
    transaction,
)
from django.db.models import Q, QuerySet
from django.utils import timezone

from events import log as events_log
from events import publish, redis_client, topics
from tasks import jobs, notices, queue, running
from tasks.models import EXTERNAL, Job, Outage, State

logger = logging.getLogger(__name__)

TICK: Final = 2.0
"""Seconds between two looks."""
BLIND: Final = 10.0
"""Seconds after which nobody can have kept a lease either: the hub itself was away."""
IDLE: Final = timedelta(seconds=60)
"""A job that waits so long in a queue from which nothing is taken: nobody takes jobs."""
SIGN: Final = 30
"""Seconds for which a worker's taking a task is remembered; beat has one sent every ten."""
_AT_ONCE: Final = 200


def install() -> None:
    """Start with beat, and let every worker leave a sign when it takes a task."""
    signals.beat_init.connect(_start, dispatch_uid="hub_watchdog")
    signals.beat_embedded_init.connect(_start, dispatch_uid="hub_watchdog")
    signals.task_prerun.connect(_leave_sign, dispatch_uid="hub_watchdog")


def look(watch: Watch) -> None:
    """One look at everything. What stumbles does not keep the rest from being looked at."""
    for step in (watch.end_silent, queue.send_left_behind, watch.note_outage):
        try:
            step()
        except (OperationalError, InterfaceError) as error:
            logger.warning("the watchdog can't see: %s", error)
            return  # nor could the rest
        except Exception:
            logger.exception("the watchdog stumbled")


def end_silent() -> int:
    """End what has let its lease run out. Returns how many that were."""
    silent = Job.objects.filter(state=State.STARTED, lease_until__lt=timezone.now())
    ended = 0
    for job_id, attempt, cancelled_at in list(
        silent.values_list("pk", "attempt", "cancel_requested_at")[:_AT_ONCE]
    ):
        state = State.LOST if cancelled_at is None else State.CANCELLED
        told = running.highest_told(job_id, attempt)
        ended += jobs.give_up(job_id, attempt, state, told) is not None
    return ended


def extend_leases() -> None:
    """The hub was away, or its clock was set, and nobody could tell it anything: every lease begins anew."""
    now = timezone.now()
    held = Job.objects.filter(lease_until__isnull=False, state=State.STARTED)
    for lease in held.order_by().values_list("lease", flat=True).distinct():
        until = now + timedelta(seconds=lease)
        held.filter(lease=lease).update(lease_until=until)


class Watch:
    """What one watchdog has seen so far."""

    def __init__(self) -> None:
        self._sign_seen_at = time.monotonic()
        self._looked_at = self._wall_at_look = float("-inf")

    def end_silent(self) -> None:
        """After a time in which nobody could be heard, nobody is taken for silent yet."""
        if self._was_away():
            extend_leases()
        end_silent()
        self._looked_at, self._wall_at_look = time.monotonic(), time.time()

    def _was_away(self) -> bool:
        """By either clock: one stands still while the machine sleeps, the other, by which leases go, may be set."""
        is_blind = time.monotonic() - self._looked_at > BLIND
        return is_blind or not 0 <= time.time() - self._wall_at_look <= BLIND

    def note_outage(self) -> None:
        _note_outage(self.nobody_takes())

    def nobody_takes(self) -> bool:
        """Jobs wait for a minute in a queue from which none was taken, or workers show no sign at all."""
        if self._no_sign() and not Job.objects.filter(_busy()).exists():
            return True
        since = timezone.now() - IDLE
        due = Q(due_at=None, queued_at__lt=since) | Q(due_at__lt=since)
        waiting = Job.objects.filter(
            due, finished_at=None, state=State.QUEUED, queued_at__lt=since
        ).exclude(kind=EXTERNAL)
        taken = Job.objects.filter(started_at__gt=since).exclude(kind=EXTERNAL)
        return bool(_queues(waiting) - _queues(taken) - _queues(Job.objects.filter(_busy())))

    def _no_sign(self) -> bool:
        now = time.monotonic()
        try:
            if redis_client.blocking().exists(_sign()):
                self._sign_seen_at = now
        except redis.RedisError:
            self._sign_seen_at = now  # it is not the workers that are missing
        return now - self._sign_seen_at > IDLE.total_seconds() - SIGN


def _busy() -> Q:
    return Q(state=State.STARTED, lease_until__gt=timezone.now()) & ~Q(kind=EXTERNAL)


def _queues(found: QuerySet[Job]) -> set[str]:
    return set(found.order_by().values_list("queue", flat=True).distinct())


def _note_outage(is_out: bool) -> None:
    is_known = Outage.objects.filter(is_open=True).exists()
    if is_out == is_known:
        return
    try:
        with transaction.atomic():
            if is_out:
                outage = Outage.objects.create(began_at=timezone.now())
                since = events_log.rfc3339(outage.began_at)
                publish(topics.DASHBOARD, "hub.workers_away", {"since": since})
            else:
                outage = Outage.objects.select_for_update().get(is_open=True)
                outage.ended_at, outage.is_open = timezone.now(), False
                outage.save()
                publish(topics.DASHBOARD, "hub.workers_back", {})
            notices.tell_of_outage(outage)
    except (IntegrityError, Outage.DoesNotExist):
        return  # another watchdog was first


def _start(**_: Any) -> None:
    threading.Thread(target=_watch, name="watchdog", daemon=True).start()


def _watch() -> None:
    watch = Watch()
    while True:
        look(watch)
        connections.close_all()
        time.sleep(TICK)


_signed_at = 0.0


def _leave_sign(**_: Any) -> None:
    global _signed_at
    now = time.monotonic()
    if now - _signed_at < 1:
        return
    _signed_at = now
    try:
        redis_client.blocking().set(_sign(), "1", ex=SIGN)
    except redis.RedisError as error:
        logger.debug("no sign left: %s", error)


def _sign() -> str:
    return f"{redis_client.prefix()}:taken"
