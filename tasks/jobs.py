"""The truth about every run: its states, and the one way from each to the next.

A state moves by compare-and-set on state and attempt, together with its event and its notification, in one
transaction: whoever comes second finds nothing to move and tells nobody.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Count, F, Q, QuerySet
from django.db.models.functions import Greatest, TruncMinute
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from accounts import profiles
from accounts.audience import Pair
from events import log as events_log
from events import publish_many, topics, whisper
from events.models import Event
from tasks import files, notices, sentences, titles
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
    Job,
    LogChunk,
    Outage,
    State,
)

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
PAGE: Final = 25
PAGE_MAX: Final = 100
_HOUR: Final = timedelta(hours=1)
PRUNED_AT_ONCE: Final = 5000
LEGAL: Final[Mapping[State, frozenset[State]]] = {
    State.QUEUED: frozenset({State.STARTED, State.CANCELLED, State.FAILED}),
    State.STARTED: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST}),
    State.FAILED: frozenset({State.QUEUED}),
    State.CANCELLED: frozenset({State.QUEUED}),
    State.LOST: frozenset({State.QUEUED}),
    State.SUCCEEDED: frozenset(),
}
"""The way back to queued is a new attempt; what can't be sent to a worker fails without having started."""


@dataclass(frozen=True)
class Page:
    items: list[dict[str, Any]]
    next: str | None
    """The `before` of the following page."""


def create(
    *,
    kind: str,
    owner: User | None,
    title: str = "",
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
            title=clean(title, TITLE_MAX),
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
    only: Q | None = None,
    **progress: Any,
) -> Job | None:
    """End a started attempt; None when it has ended already. `quiet`: another attempt follows by itself."""
    return _move(
        job_id,
        attempt,
        State.STARTED,
        state,
        only=only,
        quiet=quiet,
        finished_at=timezone.now(),
        lease_until=None,
        summary=clean(summary, SUMMARY_MAX),
        error=clean(error, ERROR_MAX, end=True),
        **progress,
    )


def try_again(
    job_id: uuid.UUID,
    attempt: int,
    *,
    error: str,
    due_at: datetime | None,
    call: Mapping[str, str],
    **progress: Any,
) -> Job | None:
    """Let a started attempt fail, and queue the next one: nobody is told of the failure. None when it has ended already.

    What was asked to stop is cancelled, and not tried again. `call` are the `message` and `queue` that change.
    """
    with transaction.atomic():
        wanted = Q(cancel_requested_at=None)
        failed = finish(
            job_id, attempt, State.FAILED, error=error, quiet=True, only=wanted, **progress
        )
        if failed is None:
            return finish(job_id, attempt, State.CANCELLED, **progress)
        return retry(job_id, attempt=attempt, due_at=due_at, call=call)


def give_up(job_id: uuid.UUID, attempt: int, state: State, done: int = 0) -> Job | None:
    """End a started attempt whose lease has run out; None when it has ended, or has been heard of meanwhile.

    `done`: how far people were told that it is, which may be more than was stored.
    """
    now = timezone.now()
    return _move(
        job_id,
        attempt,
        State.STARTED,
        state,
        only=Q(lease_until__lt=now),
        finished_at=now,
        lease_until=None,
        done=Greatest("done", done),
    )


def refuse(job_id: uuid.UUID, attempt: int, why: str) -> Job | None:
    """End a waiting attempt that no worker can ever be sent; None when it is not waiting any more."""
    return _move(
        job_id,
        attempt,
        State.QUEUED,
        State.FAILED,
        finished_at=timezone.now(),
        error=clean(why, ERROR_MAX, end=True),
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


def retry(
    job_id: uuid.UUID,
    *,
    attempt: int | None = None,
    due_at: datetime | None = None,
    call: Mapping[str, Any] | None = None,
) -> Job:
    """Queue an ended job once more, as a new attempt; sending it is the caller's. Raises NotPossible.

    With `attempt` only if that is still the last one; `call` are the `message` and `queue` that change.
    """
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
        job.attempt if attempt is None else attempt,
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
        **(call or {}),
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
    """One text for all who read the event: it is in the language of the owner, who has it in the own topic."""
    kind = f"job.{job.state}"
    with translation.override(notices.language_of(job.owner)):
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
    """A job as the API and its events have it, in the present language."""
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
            "title": titles.of(job),
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
            "error": sentences.translated(job.error),
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
        "url": f"/api/v1/jobs/{one.job_id}/files/{one.pk}",
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
            "error": sentences.translated(one.error),
        }
        for one in Attempt.objects.filter(job=job).order_by("-number")
    ]


def running(user: User, limit: int) -> list[dict[str, Any]]:
    """What waits or runs, this person's own in full and first, those of others in short, but to superusers in full."""
    live = Job.objects.filter(finished_at=None).order_by("-created_at", "-id")
    own = list(live.filter(owner=user)[:limit])
    others = live.exclude(owner=user)[: limit - len(own)]
    shown = items([*own, *others])
    if user.is_superuser:
        return shown
    return [*shown[: len(own)], *map(_short, shown[len(own) :])]


def today(zone: tzinfo, head: int | None = None) -> list[dict[str, Any]]:
    """Attempts that ended today: `{at, succeeded, failed, cancelled, lost}` for every hour of that zone's day, oldest first.

    The day on which the clock is changed has 23 hours, or 25. With a head of `group.dashboard`, without those that
    the events above it are going to tell of.
    """
    midnight, tomorrow = _day(zone)
    hours: list[Counter[str]] = [Counter() for _ in range(-((midnight - tomorrow) // _HOUR))]
    for minute, what, count in _ended(midnight, tomorrow, head):
        kind, _dot, state = what.rpartition(".")
        hours[(minute - midnight) // _HOUR][state] += -count if kind else count
    return [
        {
            "at": events_log.rfc3339(midnight + at * _HOUR),
            **{str(state): max(hour[state], 0) for state in TERMINAL},
        }
        for at, hour in enumerate(hours)
    ]


def _day(zone: tzinfo) -> tuple[datetime, datetime]:
    """Today's midnight there, and tomorrow's."""
    date = timezone.localtime(timezone=zone).date()
    first, after = (datetime.combine(day, time(), zone) for day in (date, date + timedelta(days=1)))
    return first.astimezone(UTC), after.astimezone(UTC)


def _ended(
    since: datetime, until: datetime, head: int | None
) -> Iterator[tuple[datetime, str, int]]:
    """Minute, state, how many attempts; and minute, type, how many of the events above that head.

    One statement for both: an attempt and its event are stored together, so it sees the two or neither. By minutes,
    for no database tells the two hours apart that bear one name when the clock goes back.
    """

    def counted(rows: QuerySet[Any], at: str, what: str) -> Any:
        within = rows.filter(**{f"{at}__gte": since, f"{at}__lt": until}).order_by()
        return within.values_list(TruncMinute(at, tzinfo=UTC), what).annotate(count=Count("pk"))

    ended = counted(Attempt.objects.all(), "finished_at", "state")
    if head is None:
        return iter(ended)
    told = Event.objects.filter(topic=topics.DASHBOARD, type__in=[f"job.{s}" for s in TERMINAL])
    above = told.filter(Q(offset__gt=head) | Q(offset=None))
    return iter(ended.union(counted(above, "at", "type"), all=True))


def outage() -> datetime | None:
    """Since when nobody takes jobs; None while somebody does."""
    return Outage.objects.filter(is_open=True).values_list("began_at", flat=True).first()


def prune(before: datetime) -> int:
    """Retention: jobs that ended before then, with their logs and files. Returns how many."""
    old = Job.objects.filter(state__in=TERMINAL, finished_at__lt=before).order_by("finished_at")
    gone = 0
    for pk in old.values_list("pk", flat=True)[:PRUNED_AT_ONCE]:
        for file in list(File.objects.filter(job=pk).values_list("pk", flat=True)):
            files.forget(file)
        said = LogChunk.objects.filter(job=pk).order_by("first")
        while some := list(said.values_list("pk", flat=True)[: files.BITE]):
            LogChunk.objects.filter(pk__in=some).delete()
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
