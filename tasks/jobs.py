"""The truth about every run: its states, and the one way from each to the next.

A state moves by compare-and-set on state and attempt, together with its event and its notification, in one
transaction: whoever comes second finds nothing to move and tells nobody.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import Greatest, TruncHour
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts import profiles
from accounts.audience import Pair
from events import log as events_log
from events import publish_many, topics, whisper
from events.models import Event
from tasks import notices
from tasks.errors import NoSuchJob, NotPossible
from tasks.models import (
    ERROR_MAX,
    EXTERNAL,
    LIVE,
    SUMMARY_MAX,
    TERMINAL,
    TITLE_MAX,
    Attempt,
    File,
    FileChunk,
    Job,
    LogChunk,
    Outage,
    State,
)

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
PAGE: Final = 25
PAGE_MAX: Final = 100
PRUNED_AT_ONCE: Final = 5000
LEGAL: Final[Mapping[State, frozenset[State]]] = {
    State.QUEUED: frozenset({State.STARTED, State.CANCELLED}),
    State.STARTED: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST}),
    State.FAILED: frozenset({State.QUEUED}),
    State.CANCELLED: frozenset({State.QUEUED}),
    State.LOST: frozenset({State.QUEUED}),
    State.SUCCEEDED: frozenset(),
}
"""The way back to queued is a new attempt."""


@dataclass(frozen=True)
class Page:
    items: list[dict[str, Any]]
    next: str | None
    """The `before` of the following page."""


def create(
    *,
    kind: str,
    title: str,
    owner: User | None,
    message: str = "",
    queue: str = "",
    due_at: datetime | None = None,
    by_hand: bool = False,
    job_id: uuid.UUID | None = None,
) -> Job:
    """A queued job, in the caller's transaction; sending it is the caller's."""
    now = timezone.now()
    with transaction.atomic():
        job = Job.objects.create(
            id=job_id or uuid.uuid4(),
            kind=kind,
            title=clean(title, TITLE_MAX) or kind[:TITLE_MAX],
            owner=owner,
            message=message,
            queue=queue,
            due_at=due_at,
            by_hand=by_hand,
            created_at=now,
            queued_at=now,
        )
        Attempt.objects.create(job=job, number=1, queued_at=now)
        _tell(job)
    return job


def claim(job_id: uuid.UUID, attempt: int, lease: int) -> Job | None:
    """Start this attempt; None when it is not waiting any more: started by another message, cancelled, retried."""
    now = timezone.now()
    return _move(
        job_id,
        attempt,
        State.QUEUED,
        State.STARTED,
        started_at=now,
        lease=lease,
        lease_until=now + timedelta(seconds=lease),
    )


def beat(job: Job, **progress: Any) -> bool:
    """Keep the lease of a started attempt, and store how far it is; False when it is not running any more.

    `done` never goes back within an attempt.
    """
    if "done" in progress:
        progress["done"] = Greatest("done", progress["done"])
    running = Job.objects.filter(pk=job.pk, attempt=job.attempt, state=State.STARTED)
    until = timezone.now() + timedelta(seconds=job.lease)
    return bool(running.update(lease_until=until, **progress))


def finish(
    job_id: uuid.UUID,
    attempt: int,
    state: State,
    *,
    summary: str = "",
    error: str = "",
    quiet: bool = False,
    **progress: Any,
) -> Job | None:
    """End a started attempt; None when it has ended already. `quiet`: another attempt follows by itself."""
    return _move(
        job_id,
        attempt,
        State.STARTED,
        state,
        quiet=quiet,
        finished_at=timezone.now(),
        lease_until=None,
        summary=clean(summary, SUMMARY_MAX),
        error=clean(error, ERROR_MAX, end=True),
        **progress,
    )


def give_up(job_id: uuid.UUID, attempt: int, state: State) -> Job | None:
    """End a started attempt whose lease has run out; None when it has ended, or has been heard of meanwhile."""
    now = timezone.now()
    silent = Q(lease_until__lt=now)
    return _move(
        job_id, attempt, State.STARTED, state, only=silent, finished_at=now, lease_until=None
    )


def cancel(job_id: uuid.UUID, by: User | None) -> Job:
    """At once when it waits; a running one is asked to stop. Raises NotPossible for one that has ended."""
    with transaction.atomic():
        now = timezone.now()
        asked = Job.objects.filter(pk=job_id, state__in=LIVE, cancel_requested_at=None)
        asked.update(cancel_requested_at=now, cancelled_by=by)
        job = Job.objects.filter(pk=job_id).first()
        if job is None:
            raise NoSuchJob
        if job.state not in LIVE:
            raise NotPossible(_("The job has ended already."))
        if job.state == State.QUEUED:
            moved = _move(job_id, job.attempt, State.QUEUED, State.CANCELLED, finished_at=now)
            if moved is not None:
                return moved
            job.refresh_from_db()
        said = {**way(job), "cancel_requested": True}
        transaction.on_commit(
            lambda: whisper(topics.job(job.pk), "job.progress", said), robust=True
        )
        return job


def retry(job_id: uuid.UUID, *, due_at: datetime | None = None) -> Job:
    """Queue an ended job once more, as a new attempt; sending it is the caller's. Raises NotPossible."""
    job = Job.objects.filter(pk=job_id).first()
    if job is None:
        raise NoSuchJob
    if job.kind == EXTERNAL:
        raise NotPossible(_("The hub can't start a script; run it again where it runs."))
    if State.QUEUED not in LEGAL[State(job.state)]:
        if job.state == State.SUCCEEDED:
            raise NotPossible(_("The job has succeeded."))
        raise NotPossible(_("The job has not ended yet."))
    now = timezone.now()
    moved = _move(
        job_id,
        job.attempt,
        State(job.state),
        State.QUEUED,
        attempt=job.attempt + 1,
        queued_at=now,
        due_at=due_at,
        started_at=None,
        finished_at=None,
        sent_at=None,
        cancel_requested_at=None,
        cancelled_by=None,
        done=0,
        total=None,
        note="",
        summary="",
        error="",
    )
    if moved is None:
        raise NotPossible(_("Somebody else has started it again already."))
    return moved


def _move(
    job_id: uuid.UUID,
    tried: int,
    before: State,
    after: State,
    *,
    only: Q | None = None,
    quiet: bool = False,
    **changes: Any,
) -> Job | None:
    if after not in LEGAL[before]:
        raise ValueError(f"a job can't go from {before} to {after}")
    with transaction.atomic():
        standing = Job.objects.filter(only or Q(), pk=job_id, attempt=tried, state=before)
        if not standing.update(state=after, **changes):
            return None
        job = Job.objects.select_related("owner__hub_profile").get(pk=job_id)
        if after == State.QUEUED:
            Attempt.objects.create(job=job, number=job.attempt, queued_at=job.queued_at)
        else:
            columns = ("state", "started_at", "finished_at", "done", "total", "summary", "error")
            trial = Attempt.objects.filter(job=job, number=tried)
            trial.update(**{name: getattr(job, name) for name in columns})
        _tell(job)
        if after in TERMINAL and not quiet:
            notices.tell(job)
    return job


def _tell(job: Job) -> None:
    kind = f"job.{job.state}"
    full = item(job)
    to = [topics.job(job.pk)] + ([topics.user(job.owner_id)] if job.owner_id else [])
    publish_many([*((topic, kind, full) for topic in to), (topics.DASHBOARD, kind, _short(full))])


def readable(pairs: Collection[Pair]) -> set[Pair]:
    """The rule of `job.<uuid>`: its owner, and superusers."""
    owners = dict(
        Job.objects.filter(pk__in={topic.key for _, topic in pairs}).values_list("pk", "owner_id")
    )
    people = get_user_model()._default_manager.filter(pk__in={user for user, _ in pairs})
    superusers = set(people.filter(is_superuser=True).values_list("pk", flat=True))
    return {
        (user, topic)
        for user, topic in pairs
        if (job := uuid.UUID(topic.key)) in owners and (user in superusers or owners[job] == user)
    }


def visible_to(user: User) -> QuerySet[Job]:
    """Own jobs; to a superuser all."""
    jobs = Job.objects.select_related("owner__hub_profile")
    return jobs if user.is_superuser else jobs.filter(owner=user)


def find(user: User, job_id: uuid.UUID | str) -> Job:
    """Raises NoSuchJob, for what is not theirs as for what does not exist."""
    try:
        return visible_to(user).get(pk=job_id)
    except (Job.DoesNotExist, ValidationError, ValueError):
        raise NoSuchJob from None


def page(
    user: User,
    *,
    state: str | None = None,
    kind: str | None = None,
    own: bool = False,
    limit: int = PAGE,
    before: uuid.UUID | None = None,
) -> Page:
    """Newest first, `before` an id of a page's last item."""
    rows = visible_to(user)
    if own:
        rows = rows.filter(owner=user)
    if state:
        rows = rows.filter(state=state)
    if kind:
        rows = rows.filter(kind=kind)
    if before is not None:
        place = visible_to(user).filter(pk=before).values_list("created_at", "pk").first()
        if place is None:
            return Page([], None)
        at, last = place
        rows = rows.filter(Q(created_at__lt=at) | Q(created_at=at, pk__lt=last))
    found = list(rows.order_by("-created_at", "-id")[: limit + 1])
    more = len(found) > limit
    return Page(items(found[:limit]), str(found[limit - 1].pk) if more else None)


def item(job: Job) -> dict[str, Any]:
    """A job as the API and its events have it."""
    return items([job])[0]


def items(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """`item` for many, in two queries."""
    made: dict[uuid.UUID, list[dict[str, Any]]] = defaultdict(list)
    results = File.objects.filter(
        job__in=jobs, role=File.Role.RESULT, complete_at__isnull=False, attempt=F("job__attempt")
    )
    for one in results.filter(expires_at__gt=timezone.now()).order_by("pk"):
        made[one.job_id].append(file_item(one))  # type: ignore[index]
    owners = profiles.people({job.owner_id for job in jobs if job.owner_id is not None})
    return [
        {
            "id": str(job.pk),
            "kind": job.kind,
            "title": job.title,
            "state": str(job.state),
            "owner": owners.get(job.owner_id) if job.owner_id else None,
            "done": job.done,
            "total": job.total,
            "note": job.note,
            "attempt": job.attempt,
            "queued_at": _time(job.queued_at),
            "started_at": _time(job.started_at),
            "finished_at": _time(job.finished_at),
            "summary": job.summary,
            "error": job.error,
            "files": made[job.pk],
            "url": f"/jobs/{job.pk}/",
            "cancel_requested": job.cancel_requested_at is not None,
            "log_lines": job.log_lines,
        }
        for job in jobs
    ]


def file_item(one: File) -> dict[str, Any]:
    return {
        "id": one.pk,
        "name": one.name,
        "type": one.type,
        "size": one.size,
        "url": f"/jobs/{one.job_id}/files/{one.pk}/",
        "at": _time(one.created_at),
        "expires_at": _time(one.expires_at),
    }


def short(job: Job) -> dict[str, Any]:
    """What everybody may know of a job: `{id, state, kind, owner, done, total}`."""
    return _short(item(job))


def _short(full: Mapping[str, Any]) -> dict[str, Any]:
    return {name: full[name] for name in ("id", "state", "kind", "owner", "done", "total")}


def way(job: Job) -> dict[str, Any]:
    """How far a job is, as it is whispered on its own topic."""
    return {
        "id": str(job.pk),
        "attempt": job.attempt,
        "done": job.done,
        "total": job.total,
        "note": job.note,
        "at": _time(timezone.now()),
    }


def attempts(job: Job) -> list[dict[str, Any]]:
    """Every try, the newest first."""
    return [
        {
            "number": one.number,
            "state": str(one.state),
            "queued_at": _time(one.queued_at),
            "started_at": _time(one.started_at),
            "finished_at": _time(one.finished_at),
            "done": one.done,
            "total": one.total,
            "summary": one.summary,
            "error": one.error,
        }
        for one in Attempt.objects.filter(job=job).order_by("-number")
    ]


def running(user: User, limit: int) -> list[dict[str, Any]]:
    """What waits or runs, this person's own in full and first, those of others in short."""
    live = Job.objects.select_related("owner__hub_profile").filter(state__in=LIVE)
    own = list(live.filter(owner=user).order_by("-created_at", "-id")[:limit])
    rest = limit - len(own)
    others = live.exclude(pk__in=[job.pk for job in own]).exclude(owner=user)
    found = list(others.order_by("-created_at", "-id")[:rest]) if rest > 0 else []
    return [*items(own), *map(_short, items(found))]


def live_count(user: User) -> int:
    """How many of this person's jobs wait or run."""
    return Job.objects.filter(owner=user, state__in=LIVE).count()


def today(zone: tzinfo, head: int | None = None) -> list[dict[str, Any]]:
    """Attempts that ended today, by hour of that zone: `{at, succeeded, failed, cancelled, lost}`, oldest first.

    With a head of `group.dashboard`, without those that the events above it are going to tell of.
    """
    midnight = timezone.localtime(timezone=zone).replace(hour=0, minute=0, second=0, microsecond=0)
    hours: dict[str, Counter[datetime]] = defaultdict(Counter)
    for hour, what, count in _ended_since(midnight, head):
        kind, _dot, state = what.rpartition(".")
        hours[state][hour] += -count if kind else count
    return [
        {
            "at": events_log.rfc3339(hour),
            **{str(state): max(hours[state][hour], 0) for state in TERMINAL},
        }
        for hour in _hours_since(midnight)
    ]


def _ended_since(midnight: datetime, head: int | None) -> Iterator[tuple[datetime, str, int]]:
    """Hour, state, how many attempts; and hour, type, how many of the events above that head.

    One statement for both: an attempt and its event are stored together, so it sees the two or neither.
    """

    def counted(rows: QuerySet[Any], at: str, what: str) -> Any:
        hour = TruncHour(at, tzinfo=midnight.tzinfo)
        return rows.order_by().values_list(hour, what).annotate(count=Count("pk"))

    ended = counted(Attempt.objects.filter(finished_at__gte=midnight), "finished_at", "state")
    if head is None:
        return iter(ended)
    told = Event.objects.filter(topic=topics.DASHBOARD, at__gte=midnight)
    told = told.filter(Q(offset__gt=head) | Q(offset=None), type__in=[f"job.{s}" for s in TERMINAL])
    return iter(ended.union(counted(told, "at", "type"), all=True))


def _hours_since(midnight: datetime) -> Iterable[datetime]:
    """By the clock on the wall: the day on which it is changed has 23 or 25."""
    at = midnight.astimezone(timezone.get_default_timezone())
    now = timezone.now()
    while at <= now:
        yield at.astimezone(midnight.tzinfo)
        at += timedelta(hours=1)


def outage() -> datetime | None:
    """Since when nobody takes jobs; None while somebody does."""
    return Outage.objects.filter(is_open=True).values_list("began_at", flat=True).first()


def prune(before: datetime) -> int:
    """Retention: jobs that ended before then, with their logs and files. Returns how many."""
    old = Job.objects.filter(state__in=TERMINAL, finished_at__lt=before).order_by("finished_at")
    gone = 0
    for pk in old.values_list("pk", flat=True)[:PRUNED_AT_ONCE]:
        for model in (FileChunk.objects.filter(file__job=pk), LogChunk.objects.filter(job=pk)):
            while some := list(model.values_list("pk", flat=True)[:50]):
                model.model._default_manager.filter(pk__in=some).delete()
        gone += bool(Job.objects.filter(pk=pk).delete()[0])
    return gone


def clean(text: str, most: int, *, end: bool = False) -> str:
    """What a database and an event take, at most so long; of too long a text its beginning, or its end."""
    kept = text[-2 * most :] if end else text[: 2 * most]
    kept = _CONTROL.sub(" ", kept.replace("\r\n", "\n").replace("\r", "\n"))
    kept = kept.encode("utf-8", "replace").decode().strip()
    if len(kept) <= most:
        return kept
    return "…" + kept[1 - most :] if end else kept[: most - 1] + "…"


def _time(at: datetime | None) -> str | None:
    return None if at is None else events_log.rfc3339(at)
