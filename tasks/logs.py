"""What a job says while it runs: lines in order, over all its attempts."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any, Final

import orjson
from django.db import transaction
from django.db.models import F
from django.utils import timezone

from events import log as events_log
from events import topics, whisper
from events.publishing import MAX_DATA
from tasks.models import Job, LogChunk

LINE_MAX: Final = 4000
"""Characters; the rest of a line is cut off."""
SIZE_MAX: Final = 10 * 1024 * 1024
"""Characters of a job's whole log. Then one last line says that the rest is not kept."""
CUT: Final = "… the log is full (10 MiB); what follows is not kept"
CHUNK_LINES: Final = 1000
CHUNKS: Final = 20
"""Of a log in memory at once."""
WHISPERED: Final = MAX_DATA
"""Bytes of a whisper's data, as JSON, that may bring its lines along; who is told of more reads it."""
PAGE: Final = 1000
PAGE_MAX: Final = 5000
_CONTROL: Final = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
"""Colours and other terminal commands, and what a database does not take."""


def append(job_id: uuid.UUID, attempt: int, text: str) -> int:
    """Store the lines of the text after those that are there, and tell who watches. Returns how many were kept.

    Only for the attempt that runs: what an older one still says is dropped.
    """
    lines = _lines(text)
    kept = 0
    for start in range(0, len(lines), CHUNK_LINES):
        kept += _append(job_id, attempt, lines[start : start + CHUNK_LINES])
    return kept


def _append(job_id: uuid.UUID, attempt: int, lines: list[str]) -> int:
    now = timezone.now()
    with transaction.atomic():
        job = Job.objects.select_for_update().filter(pk=job_id, attempt=attempt).first()
        if job is None or job.log_size >= SIZE_MAX:
            return 0
        size = sum(map(len, lines)) + len(lines)
        if job.log_size + size > SIZE_MAX:
            lines, size = [*_fitting(lines, SIZE_MAX - job.log_size), CUT], SIZE_MAX - job.log_size
        first = job.log_lines + 1
        LogChunk.objects.create(
            job=job,
            attempt=attempt,
            first=first,
            lines=len(lines),
            text="\n".join(lines),
            at=now,
        )
        Job.objects.filter(pk=job_id).update(
            log_lines=F("log_lines") + len(lines), log_size=F("log_size") + size
        )
        said: dict[str, Any] = {
            "id": str(job_id),
            "attempt": attempt,
            "at": events_log.rfc3339(now),
            "n": first,
            "next": first + len(lines),
        }
        whole = {**said, "lines": lines}
        if len(orjson.dumps(whole)) <= WHISPERED:
            said = whole
        transaction.on_commit(lambda: whisper(topics.job(job_id), "job.log", said), robust=True)
    return len(lines)


def page(job: Job, start: int = 1, limit: int = PAGE) -> list[dict[str, Any]]:
    """Up to `limit` lines from number `start` on: `{n, attempt, at, text}`."""
    found: list[dict[str, Any]] = []
    for chunk, number, text in _from(job, start):
        if len(found) == limit:
            break
        found.append(
            {
                "n": number,
                "attempt": chunk.attempt,
                "at": events_log.rfc3339(chunk.at),
                "text": text,
            }
        )
    return found


def tail(job: Job, lines: int = PAGE) -> list[dict[str, Any]]:
    """The last lines."""
    count = Job.objects.filter(pk=job.pk).values_list("log_lines", flat=True).first() or 0
    return page(job, max(count - lines + 1, 1), lines)


def whole(job: Job) -> Iterator[str]:
    """The log as text, a piece in memory at a time; between two nothing is held open, however slow the reader."""
    chunks = LogChunk.objects.filter(job=job).order_by("first")
    last = 0
    while some := list(chunks.filter(first__gt=last)[:CHUNKS]):
        yield "".join(f"{chunk.text}\n" for chunk in some)
        last = some[-1].first


def _from(job: Job, start: int) -> Iterator[tuple[LogChunk, int, str]]:
    start = max(start, 1)
    chunks = LogChunk.objects.filter(job=job, first__gt=start - CHUNK_LINES - 1).order_by("first")
    for chunk in chunks.iterator(chunk_size=20):
        for number, text in enumerate(chunk.text.split("\n"), chunk.first):
            if number >= start:
                yield chunk, number, text


def _lines(text: str) -> list[str]:
    """A carriage return, with which progress bars write over their line, ends one too."""
    whole = text.replace("\r\n", "\n").replace("\r", "\n")
    whole = whole.encode("utf-8", "replace").decode()
    parts = whole.removesuffix("\n").split("\n") if whole else []
    return [_cut(_CONTROL.sub("", part)) for part in parts]


def _cut(line: str) -> str:
    return line if len(line) <= LINE_MAX else line[: LINE_MAX - 1] + "…"


def _fitting(lines: list[str], room: int) -> list[str]:
    fitting = []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        fitting.append(line)
    return fitting
