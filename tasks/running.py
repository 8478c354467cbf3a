"""A job while it runs in a worker: the four words it may say, and the thread that passes them on.

What a task calls costs it nothing: it leaves a value, and the thread beside it whispers, stores, keeps the lease
and looks whether somebody has cancelled.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from contextvars import ContextVar, copy_context
from datetime import datetime
from functools import partial
from typing import Any, Final, TypeVar

import billiard
import redis
from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction

from events import redis_client, topics, whisper
from tasks import files, jobs, logs
from tasks.errors import Cancelled
from tasks.models import NOTE_MAX, Job, State

logger = logging.getLogger(__name__)

T = TypeVar("T")

_AWAY: Final = (OperationalError, InterfaceError)
"""What is raised while the database is away."""

LEASE: Final = 15
"""Seconds of silence after which a worker's job is lost."""
BEAT: Final = 5.0
"""Seconds between two signs of life."""
TICK: Final = 0.2
"""Seconds between two whispers about one job: five a second."""
LOOK: Final = 1.0
"""Seconds between two rows, and between two looks whether the job was cancelled."""
GRACE: Final = 10.0
"""Seconds that a cancelled job has to stop by itself."""
PATIENCE: Final = 600.0
"""Seconds for which the end of a job is kept while it can't be stored."""
LOG_FLUSH: Final = 64 * 1024
"""Characters of log that wait for a tick at most; beyond, the task waits until they are stored."""

TOLD: Final = 600
"""Seconds for which it is remembered how far people were told that a job is."""
COUNT_MAX: Final = 2**63 - 1

_current: ContextVar[Run | None] = ContextVar("hub_run", default=None)


class Run:
    """One attempt in this process. `with` starts and stops the thread; `finish` ends the attempt."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._short = jobs.short(job)
        self._done = 0
        self._total: int | None = None
        self._note = ""
        self._said: list[str] = []
        self._said_size = 0
        self._is_told = self._is_listed = self._is_stored = True
        self._lock = threading.Lock()
        self._log_lock = threading.Lock()
        self._stopped = threading.Event()
        self._stop_asked_at: float | None = None
        """When the task was first asked to stop: it was cancelled, or is no longer the attempt that counts."""
        accompany = partial(copy_context().run, self._accompany)
        self._thread = threading.Thread(target=accompany, name=f"job-{job.pk}", daemon=True)

    def __enter__(self) -> Run:
        self._token = _current.set(self)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        _current.reset(self._token)

    def progress(self, done: int | None, total: int | None, note: str) -> None:
        """Raises Cancelled when the job is to stop."""
        with self._lock:
            if done is not None:
                self._done = max(self._done, _storable(done))
            if total is not None:
                self._total = _storable(total)
            if note:
                self._note = jobs.clean(note, NOTE_MAX)
            self._is_told = self._is_listed = self._is_stored = False
        self.stop_if_asked()

    def stop_if_asked(self) -> None:
        if self._stop_asked_at is not None:
            raise Cancelled

    def log(self, text: str) -> None:
        with self._lock:
            self._said.append(text)
            self._said_size += len(text)
            is_full = self._said_size > LOG_FLUSH
        if is_full:
            self._store_log()

    def finish(self, state: State, *, summary: str = "", error: str = "") -> bool:
        """After the thread has stopped: the last of the log, then the end, then nothing more.

        False when the attempt had ended already.
        """
        job, attempt = self.job.pk, self.job.attempt
        ended = self._end(
            lambda: jobs.finish(job, attempt, state, summary=summary, error=error, **self._place())
        )
        return ended is not None

    def try_again(
        self, *, error: str, due_at: datetime | None, call: Mapping[str, str]
    ) -> Job | None:
        """`finish` of an attempt that failed, with the next one queued, as `jobs.try_again`."""
        job, attempt = self.job.pk, self.job.attempt
        return self._end(
            lambda: jobs.try_again(
                job, attempt, error=error, due_at=due_at, call=call, **self._place()
            )
        )

    def _end(self, store: Callable[[], Job | None]) -> Job | None:
        """What the task has done stands, so a database that is away for a while, or stumbles, is waited for."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                self._store_log()
                return store()
            except (DatabaseError, InterfaceError) as trouble:
                if transaction.get_connection().in_atomic_block or time.monotonic() > until:
                    raise
                logger.warning(
                    "job %s has ended, which can't be stored yet: %s", self.job.pk, trouble
                )
                connections.close_all()
                time.sleep(1)

    def _place(self) -> dict[str, Any]:
        with self._lock:
            return {"done": self._done, "total": self._total, "note": self._note}

    def _accompany(self) -> None:
        self._beaten_at = self._looked_at = self._listed_at = time.monotonic()
        steps = (
            self._tell,
            self._list,
            self._beat,
            self._store_log,
            self._look,
            self._stop_hard,
        )
        try:
            while not self._stopped.wait(TICK):
                for step in steps:
                    try:
                        step()
                    except _AWAY as error:
                        logger.warning(
                            "job %s goes on without the database: %s", self.job.pk, error
                        )
                        connections.close_all()
                        break
                    except Exception:
                        # The lease is kept all the same: a job that is well must not become lost.
                        logger.exception("job %s: its companion stumbled", self.job.pk)
        finally:
            connections.close_all()

    def _tell(self) -> None:
        if self._is_told:
            return
        self._is_told = True
        place = self._place()
        _note_told(self.job, place["done"])
        whisper(topics.job(self.job.pk), "job.progress", {**jobs.way(self.job), **place})

    def _list(self) -> None:
        now = time.monotonic()
        if self._is_listed or now - self._listed_at < LOOK:
            return
        self._is_listed, self._listed_at = True, now
        place = self._place()
        short = {**self._short, "done": place["done"], "total": place["total"]}
        whisper(topics.DASHBOARD, "job.progress", short)

    def _beat(self) -> None:
        now = time.monotonic()
        if now - self._beaten_at < (BEAT if self._is_stored else LOOK):
            return
        self._beaten_at, self._is_stored = now, True
        try:
            counts = jobs.beat(self.job, **self._place())
        except Exception:
            self._is_stored = False
            raise
        if not counts:
            self._ask_to_stop()

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < LOOK:
            return
        self._looked_at = now
        asked = Job.objects.filter(pk=self.job.pk, attempt=self.job.attempt, state=State.STARTED)
        row = asked.values_list("cancel_requested_at").first()
        if row != (None,):
            self._ask_to_stop()

    def _ask_to_stop(self) -> None:
        if self._stop_asked_at is None:
            self._stop_asked_at = time.monotonic()

    def _stop_hard(self) -> None:
        """The task does not listen. Its process is ended, which alone is certain; another one takes its place."""
        if self._stop_asked_at is None or time.monotonic() - self._stop_asked_at < GRACE:
            return
        self._store_log()
        jobs.finish(self.job.pk, self.job.attempt, State.CANCELLED, **self._place())
        if getattr(billiard.current_process(), "index", None) is None:
            return  # not a worker's child: other work shares this process
        logger.warning("job %s does not stop by itself: its process is ended", self.job.pk)
        os.kill(os.getpid(), signal.SIGKILL)

    def _store_log(self) -> None:
        with self._log_lock:
            with self._lock:
                said, self._said, self._said_size = self._said, [], 0
            if not said:
                return
            try:
                logs.append(self.job.pk, self.job.attempt, "\n".join(said))
            except _AWAY:
                with self._lock:  # once more with the next tick, before what was said since
                    self._said = said + self._said
                    self._said_size += sum(map(len, said))
                raise
            except Exception:
                logger.exception("job %s: a part of its log can't be kept", self.job.pk)


def highest_told(job_id: uuid.UUID, attempt: int) -> int:
    """How far people were last told that an attempt is; 0 when nobody was, or Redis knows it no more."""
    try:
        return int(redis_client.blocking().get(_told_key(job_id, attempt)) or 0)
    except redis.RedisError:
        return 0


def _note_told(job: Job, done: int) -> None:
    """Whispers are ahead of the row. Where the row has the last word, what people saw must not go back."""
    try:
        redis_client.blocking().set(_told_key(job.pk, job.attempt), done, ex=TOLD)
    except redis.RedisError as error:
        logger.debug("job %s: what was told is not noted: %s", job.pk, error)


def _told_key(job_id: uuid.UUID, attempt: int) -> str:
    return f"{redis_client.prefix()}:told:{job_id}:{attempt}"


def _storable(count: int) -> int:
    """The nearest count that the row has room for."""
    return max(-COUNT_MAX, min(int(count), COUNT_MAX))


def current() -> Job | None:
    """The job that this code runs for; None where nobody tracks it."""
    run = _current.get()
    return None if run is None else run.job


def track(rows: Iterable[T], total: int | None = None, note: str = "") -> Iterator[T]:
    """Go through the rows and show how far; `total` is asked of the rows when it is not given.

    Raises Cancelled, which no `except Exception` stops, before the row after somebody cancelled.
    """
    run = _current.get()
    if run is None:
        yield from rows
        return
    if total is None and isinstance(rows, Sized):
        total = len(rows)
    run.progress(0, total, note)
    for done, row in enumerate(rows, 1):
        run.stop_if_asked()
        yield row
        run.progress(done, total, "")


def progress(done: int, total: int | None = None, note: str = "") -> None:
    """Say how far the job is, as often as one likes. Raises Cancelled when somebody cancelled it."""
    run = _current.get()
    if run is not None:
        run.progress(done, total, note)


def log(text: str) -> None:
    """Add lines to the job's log."""
    run = _current.get()
    if run is not None:
        run.log(str(text))


def attach(name: str, content_type: str) -> files.Writer:
    """A result file to write to; it belongs to the job once the `with` ends without an exception."""
    run = _current.get()
    return files.Nowhere() if run is None else files.result(run.job, name, content_type)
