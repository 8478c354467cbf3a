"""What jobs are called: by a title of their own, or as their kind is, in the language of whoever reads it."""

from __future__ import annotations

from django.utils.functional import Promise

from tasks.models import Job

_of_kinds: dict[str, str | Promise] = {}


def name_kind(kind: str, title: str | Promise) -> None:
    _of_kinds[kind] = title


def of_kind(kind: str) -> str:
    """In the present language; the kind's own name when it has no other."""
    return str(_of_kinds.get(kind, kind))


def of(job: Job) -> str:
    """In the present language where it is that of its kind."""
    return job.title or of_kind(job.kind)
