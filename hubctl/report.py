"""Tells the hub how a command is doing, on a thread of its own.

The command waits only where it says more than the hub can take, and never for a hub that does not answer.

One request at a time, the most urgent first. What fails because the hub is away is tried again; what the hub had
given up meanwhile is filed anew as another job.
"""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from hubctl.client import Hub
from hubctl.config import Config
from hubctl.errors import Away, HubctlError, Refused
from hubctl.lines import UNSENT_MOST, Backlog
from hubctl.progress import Progress
from hubctl.terminal import sentence, warn

LOG_EVERY: Final = 0.5
"""Seconds between two posts of log or progress, unless there is more than LOG_BYTES."""
LOG_BYTES: Final = 64 * 1024
"""Of one post, and how many wait at most before it is sent at once."""
HELD_MOST: Final = UNSENT_MOST // 2
"""Bytes that may wait before the command is slowed down; what is on its way still fits."""
SILENCE_MOST: Final = 5.0
"""Seconds without an answer after which the command is slowed down no longer."""
KEPT_MOST: Final = 10 * 1024 * 1024
"""Bytes of a job's log after which the hub keeps nothing more, which is nothing to wait for."""
BEAT_MOST: Final = 15.0
"""Seconds between two signs of life, however long the lease: their answer brings the wish to cancel."""
PAUSE_MOST: Final = 10.0
"""Seconds between two attempts while the hub is away; it begins with about half a second and doubles."""
WITHIN_LEAST: Final = 2.0
"""Seconds that the hub is given to hear the result, as long as nothing speaks against it."""
LATE: Final = 5.0
"""Seconds after its start at which the hub hears of a command so late that it can't tell how long it ran."""
FILED_MOST: Final = 100
"""Jobs that one run may become: each is one time that the hub has given it up."""
UNRECORDED: Final = "The command runs on, unrecorded."


@dataclass(frozen=True)
class Result:
    ok: bool
    summary: str = ""
    error: str = ""
    took: str = ""


class Reporter:
    def __init__(
        self, config: Config, *, title: str, key: str | None, lease: int, stop: Callable[[], None]
    ) -> None:
        """`stop` is called when somebody has cancelled the job."""
        self._config = config
        self._new = {"title": title, "lease": lease, "key": key or str(uuid.uuid4())}
        self._stop = stop
        self._beat_every = min(lease / 4, BEAT_MOST)
        self._job: str | None = None
        self._backlog = Backlog()
        self._batch = ""  # taken from the backlog, not sent yet
        self._sent = 0
        self._progress: Progress | None = None
        self._result: Result | None = None
        self._patience = 0.0
        self._over = False
        self._trouble: Away | None = None
        self._failures = 0
        self._filed = 0
        self._is_late = False
        self._began = time.monotonic()
        self._not_before = 0.0  # monotonic, as are all below
        self._not_before_log = 0.0
        self._posted_at = 0.0
        self._asked_at = time.monotonic()
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def log(self, lines: list[str]) -> None:
        """Returns once there is room for more, or the hub is away: then the oldest lines go."""
        self._backlog.add(lines)
        with self._changed:
            self._changed.notify_all()
            while self._backlog.size > HELD_MOST and self._takes_more():
                self._changed.wait(0.5)

    def _takes_more(self) -> bool:
        answers = self._trouble is None or self._trouble.status == 429  # which asks for just that
        is_heard = time.monotonic() - self._asked_at < SILENCE_MOST
        is_kept = self._sent < KEPT_MOST
        return answers and is_heard and is_kept and not self._over and self._thread.is_alive()

    def progress(self, progress: Progress) -> None:
        with self._changed:
            self._progress = progress
            self._changed.notify_all()

    def finish(self, result: Result, within: float) -> None:
        """Wait until the hub knows, at most so many seconds. Says so on stderr when it could not be told."""
        with self._changed:
            self._result = result
            self._failures = 0
            if self._trouble is None or self._trouble.retry_after is None:
                self._not_before = 0.0
            self._patience = within
            self._changed.notify_all()
        now = time.monotonic()
        until, latest = now + within, now + max(within, WITHIN_LEAST)
        while self._thread.is_alive() and now < (until if self._trouble else latest):
            self._thread.join(0.05)
            now = time.monotonic()
        if not self._over:
            warn(f"the result was not reported: {self._trouble or 'the hub does not answer'}")

    def _run(self) -> None:
        try:
            with Hub(self._config) as self._hub:
                while not self._over:
                    self._do(self._next())
        except HubctlError as error:
            self._give_up(error)

    def _do(self, step: Callable[[], None]) -> None:
        self._asked_at = time.monotonic()
        try:
            step()
        except Away as error:
            self._step_back(step, error)
        except Refused as error:
            self._take_refusal(step, error)
        else:
            self._failures, self._trouble = 0, None

    def _next(self) -> Callable[[], None]:
        """Waits for it. Each step sends one request, and may be called again if that failed."""
        with self._changed:
            while True:
                step, due = self._choose()
                due = max(due, self._not_before)
                wait = due - time.monotonic()
                if wait <= 0:
                    return step
                self._changed.wait(wait)

    def _choose(self) -> tuple[Callable[[], None], float]:
        """What comes next, and when."""
        if self._job is None:
            return self._register, 0
        if self._batch or self._backlog.size:
            hurry = self._result is not None or self._backlog.size >= LOG_BYTES
            return self._send_log, 0 if hurry else self._not_before_log
        if self._progress is not None:
            return self._send_progress, 0 if self._result else self._not_before_log
        if self._result is not None:
            return self._send_result, 0
        return self._beat, self._posted_at + self._beat_every

    def _register(self) -> None:
        self._take(self._hub.post("/jobs/external", self._new))
        self._is_late = time.monotonic() - self._began > LATE
        self._posted_at = float(
            "-inf"
        )  # a beat at once: with a key that was used the answer was that of then

    def _send_log(self) -> None:
        self._batch = self._batch or self._backlog.take(LOG_BYTES)
        self._not_before_log = time.monotonic() + LOG_EVERY
        self._take(self._hub.post_text(self._path("log"), self._batch))
        with self._changed:
            self._sent += len(self._batch)
            self._batch = ""
            self._changed.notify_all()

    def _send_progress(self) -> None:
        sent = self._progress
        if sent is None:
            return
        done, total, note = sent
        self._not_before_log = time.monotonic() + LOG_EVERY
        body = {"done": done, "note": note} | ({} if total is None else {"total": total})
        self._take(self._hub.post(self._path("progress"), body))
        with self._changed:
            if self._progress is sent:
                self._progress = None

    def _beat(self) -> None:
        self._take(self._hub.post(self._path("heartbeat")))

    def _send_result(self) -> None:
        result = self._result
        if result is None:
            return
        if self._is_late and result.took:
            said = f"Ran for {result.took}, of which the hub heard late\n"
            result = replace(
                result,
                summary=result.summary and said + result.summary,
                error=result.error and said + result.error,
            )
        if self._finish(result) == "lost":
            self._file_anew()
        else:
            self._over = True

    def _finish(self, result: Result) -> str:
        """The state in which the job is now; an end that it had already stays."""
        body = {"ok": result.ok, "summary": result.summary, "error": result.error}
        return str(self._hub.post(self._path("finish"), body).get("state"))

    def _learn_the_end(self) -> None:
        """The hub takes nothing more for this job. How it ended is answered to whoever ends it once more."""
        state = self._finish(Result(ok=False))
        if state == "lost":
            self._file_anew()
        else:
            self._give_up(f"the job has ended already as {state}")

    def _take(self, job: dict[str, Any]) -> None:
        """The job as the hub answers with it."""
        self._posted_at = time.monotonic()
        if not isinstance(job.get("id"), str):
            raise Refused(f"what answers at {self._config.url} knows no jobs: check HUB_URL.", 200)
        self._job = job["id"]
        if job.get("cancel_requested"):
            self._stop()

    def _path(self, verb: str) -> str:
        return f"/jobs/external/{self._job}/{verb}"

    def _step_back(self, step: Callable[[], None], error: Away) -> None:
        if self._trouble is None and self._result is None:
            warn(
                f"{sentence(error)} The command runs on; it is reported as soon as the hub answers."
            )
        elif self._trouble is None:
            warn(f"{sentence(error)} Trying to report the result for {self._patience:g} s.")
        if error.status == 500 and self._failures >= 3 and step in self._droppable():
            self._drop(error)
            return
        pause = random.uniform(0.5, 1) * min(PAUSE_MOST, 0.5 * 2**self._failures)  # noqa: S311
        with self._changed:
            self._trouble = error
            self._failures += 1
            self._not_before = time.monotonic() + (error.retry_after or pause)
            self._changed.notify_all()

    def _take_refusal(self, step: Callable[[], None], error: Refused) -> None:
        if self._job is not None and error.status == 404:
            self._file_anew()
        elif self._job is not None and error.status == 409 and step != self._learn_the_end:
            self._do(self._learn_the_end)
        elif step in self._droppable() and error.status not in {401, 403}:
            self._drop(error)
        else:
            self._give_up(error)

    def _give_up(self, why: object) -> None:
        warn(
            f"{sentence(why)} {UNRECORDED if self._result is None else 'The result is not recorded.'}"
        )
        self._over = True

    def _droppable(self) -> tuple[Callable[[], None], ...]:
        """A result that gets through is worth more than a log that does not."""
        return self._send_log, self._send_progress

    def _drop(self, error: HubctlError) -> None:
        warn(f"a part of the log or progress is missing at the hub: {error}")
        self._batch, self._progress = "", None
        self._failures, self._trouble = 0, None

    def _file_anew(self) -> None:
        """The hub has given this job up: it did not hear from us for longer than the lease."""
        self._filed += 1
        if self._filed > FILED_MOST:
            self._give_up("the hub loses every job that it is given")
            return
        before = f"[hubctl: goes on from job {self._job}, which the hub had given up]\n"
        self._batch = before + self._batch
        self._sent = 0
        self._job = None
        self._new["key"] = str(uuid.uuid4())
