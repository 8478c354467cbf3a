"""`hubctl jobs`: look at jobs, follow, cancel, retry and start them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Final

from hubctl.client import Hub
from hubctl.errors import Unusable
from hubctl.terminal import local_time, out, out_json, printable

OVER: Final = frozenset({"succeeded", "failed", "cancelled", "lost"})
PAGE_MOST: Final = 100
_OWN: Final = frozenset({"task", "key"})
"""Fields of the form that start a job and are no arguments."""
_WAIT: Final = 5
"""Seconds that a follower waits for news at most, before it looks by itself."""


def show_many(hub: Hub, *, state: str | None, kind: str | None, limit: int, as_json: bool) -> int:
    """Newest first."""
    before, left = None, limit
    while left > 0:
        page = hub.get("/jobs", state=state, kind=kind, limit=min(left, PAGE_MOST), before=before)
        for job in page["items"]:
            if as_json:
                out_json(job)
            else:
                at = local_time(job["started_at"] or job["queued_at"])
                out(
                    printable(
                        f"{job['id']}  {job['state']:<9}  {at}  {_far(job):>9}  {job['title']}"
                    )
                )
        left -= len(page["items"])
        before = page["next"]
        if before is None:
            break
    return 0


def show(hub: Hub, job_id: str, *, as_json: bool) -> int:
    job = hub.get(_path(job_id))
    if as_json:
        out_json(job)
        return 0
    owner = job["owner"]["username"] if job["owner"] else "-"
    lines = {
        "job": job["id"],
        "title": job["title"],
        "kind": job["kind"],
        "owner": owner,
        "state": job["state"] + (" (asked to stop)" if _is_stopping(job) else ""),
        "attempt": str(job["attempt"]),
        "progress": f"{_far(job)} {job['note']}".strip(),
        "queued": local_time(job["queued_at"]),
        "started": local_time(job["started_at"]),
        "finished": local_time(job["finished_at"]),
        "summary": job["summary"],
        "error": job["error"],
        "files": ", ".join(f"{one['name']} ({one['size']} bytes)" for one in job["files"]),
        "page": hub.url + job["url"],
    }
    for name, value in lines.items():
        first, *more = value.splitlines() or [""]
        if first:
            out(f"{name + ':':<10}{printable(first)}")
        for line in more:
            out(f"{'':<10}{printable(line)}")
    return 0


def show_log(hub: Hub, job_id: str, *, follow: bool) -> int:
    """With `follow` until the job has ended."""
    path, first = _path(job_id), 1
    while True:
        job = hub.get(path)  # before its lines: of an ended one they are all there
        first = _print_log(hub, path, first)
        if not follow or job["state"] in OVER:
            return 0
        hub.poll(f"job.{job['id']}", job["cursor"], _WAIT)


def cancel(hub: Hub, job_id: str) -> int:
    job = hub.post(_path(job_id) + "/cancel")
    out("asked to stop" if _is_stopping(job) else job["state"])
    return 0


def retry(hub: Hub, job_id: str) -> int:
    job = hub.post(_path(job_id) + "/retry")
    out(f"{job['state']}, attempt {job['attempt']}")
    return 0


def start(hub: Hub, task: str, arguments: list[str], key: str | None, *, as_json: bool) -> int:
    """`name=value` is a field of the task's form, `name=@path` a file of it; a name may come more than once.

    It goes as a form, for the hub alone knows what a value is: a text, a number, a box to tick, one of several choices.
    """
    own = [("task", task), *([("key", key)] if key else [])]
    with ExitStack() as files:
        job = hub.post_form("/jobs", [*own, *_arguments(arguments, files)])
    if as_json:
        out_json(job)
    else:
        out(f"{job['id']}  {hub.url}{job['url']}")
    return 0


def _print_log(hub: Hub, path: str, first: int) -> int:
    """All lines from this one on; returns the number of the one that comes next."""
    while True:
        page = hub.get(f"{path}/log", **{"from": first})
        for line in page["items"]:
            out(printable(line["text"]))
            first = line["n"] + 1
        if not page["items"] or page["next"] is None:
            return first


def _path(job_id: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F-]{32,36}", job_id):
        raise Unusable(
            f"{job_id} is no id of a job: take one from the first column of `hubctl jobs`"
        )
    return f"/jobs/{job_id}"


def _far(job: dict[str, Any]) -> str:
    if job["total"] is None:
        return str(job["done"]) if job["done"] else ""
    return f"{job['done']}/{job['total']}"


def _is_stopping(job: dict[str, Any]) -> bool:
    return bool(job["cancel_requested"]) and job["state"] not in OVER


def _arguments(given: list[str], files: ExitStack) -> Iterator[tuple[str, str | BinaryIO]]:
    for one in given:
        name, separator, value = one.partition("=")
        if not (name and separator):
            raise Unusable(f"{one} is no argument: write name=value, or name=@path for a file")
        if name in _OWN:
            raise Unusable(f"no argument can be called {name}")
        yield name, _open(files, Path(value[1:])) if value.startswith("@") else value


def _open(files: ExitStack, path: Path) -> BinaryIO:
    try:
        return files.enter_context(path.open("rb"))
    except OSError as error:
        raise Unusable(f"{path} can't be read: {error.strerror}") from None
