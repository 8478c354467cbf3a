"""What people are told when a job ends: its owner, or superusers where nobody owns it. Once per attempt and end."""

from __future__ import annotations

import re
import uuid
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Final

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.utils import translation
from django.utils.translation import gettext as _

from accounts import profiles
from notifications import notify
from notifications.models import BODY_MAX, TITLE_MAX, Level
from tasks import durations, sentences, titles
from tasks.models import Job, Outage, State

_KEY: Final = re.compile(r"job\.(?P<job>[0-9a-f-]{36})\.(?P<attempt>\d+)\.[a-z]+")
_LEVELS: Final = {
    State.SUCCEEDED: Level.SUCCESS,
    State.FAILED: Level.ERROR,
    State.LOST: Level.ERROR,
    State.CANCELLED: Level.WARNING,
}


def tell(job: Job) -> None:
    """Part of the transaction that ends the job. Whoever cancelled their own job knows already."""
    if job.state == State.CANCELLED and job.cancelled_by_id in {None, job.owner_id}:
        return
    people = _superusers() if job.owner is None else [job.owner]
    for language, ids in _by_language(people).items():
        with translation.override(language):
            title, body = _text(job)
            notify(
                to=ids,
                kind=f"job.{job.state}",
                title=title[:TITLE_MAX],
                body=body[:BODY_MAX],
                url=f"/jobs/{job.pk}/",
                level=_LEVELS[State(job.state)],
                actor=job.cancelled_by if job.state == State.CANCELLED else None,
                key=_key(job),
            )


def outdated(keys: Iterable[str]) -> set[str]:
    """Of the keys of notifications, those about an attempt after which the job was tried again."""
    tried = {key: found for key in keys if (found := _KEY.fullmatch(key))}
    present = dict(
        Job.objects.filter(pk__in={found["job"] for found in tried.values()})
        .order_by()
        .values_list("pk", "attempt")
    )
    return {
        key
        for key, found in tried.items()
        if int(found["attempt"]) < present.get(uuid.UUID(found["job"]), 0)
    }


def tell_of_outage(outage: Outage) -> None:
    """Superusers learn that nobody takes jobs, and that somebody does again: once each."""
    for language, ids in _by_language(_superusers()).items():
        with translation.override(language):
            if outage.is_open:
                title = _("No worker takes jobs")
                body = _("Nothing has been taken from the queue for a minute. What waits is kept.")
            else:
                title = _("Workers take jobs again")
                body = _("None did for %(time)s.") % {
                    "time": duration(outage.began_at, outage.ended_at)
                }
            notify(
                to=ids,
                kind="job.workers_away" if outage.is_open else "job.workers_back",
                title=title,
                body=body,
                url="/jobs/",
                level=Level.ERROR if outage.is_open else Level.SUCCESS,
                key=f"job.outage.{outage.pk}.{'began' if outage.is_open else 'ended'}",
            )


def duration(began: datetime | None, ended: datetime | None) -> str:
    """Nothing when it never began."""
    if began is None or ended is None:
        return ""
    return durations.in_words((ended - began).total_seconds())


def _key(job: Job) -> str:
    return f"job.{job.pk}.{job.attempt}.{job.state}"


def _text(job: Job) -> tuple[str, str]:
    took = duration(job.started_at, job.finished_at)
    name = {"title": titles.of(job)}
    match job.state:
        case State.SUCCEEDED:
            said = [_("It took %(time)s.") % {"time": took}, job.summary]
            return _("%(title)s: done") % name, "\n".join(filter(None, said))
        case State.FAILED:
            last = sentences.translated(job.error).strip().rpartition("\n")[2]
            said = [last, _("It ran for %(time)s.") % {"time": took} if took else ""]
            return _("%(title)s: failed") % name, "\n".join(filter(None, said))
        case State.CANCELLED:
            return _("%(title)s: cancelled") % name, ""
    return _("%(title)s: lost") % name, _(
        "Nothing was heard of it for %(seconds)d s: its process, or the machine it ran on, is gone."
    ) % {"seconds": job.lease}


def language_of(user: User | None) -> str:
    chosen = "" if user is None else profiles.language(user)
    return chosen or settings.LANGUAGE_CODE


def _by_language(people: Iterable[User]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for user in people:
        found[language_of(user)].append(user.pk)
    return found


def _superusers() -> list[User]:
    people = get_user_model()._default_manager.select_related("hub_profile")
    return list(people.filter(is_superuser=True, is_active=True))
