"""The reporter beside a hub that is made up."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from hubctl import report
from hubctl.config import Config
from hubctl.errors import Away
from hubctl.report import HELD_MOST, Reporter, Result

LINES = ["x" * 1023] * 64


class MadeUpHub:
    """Takes as much log as it may."""

    def __init__(self, trouble: Away | None = None) -> None:
        self.may_take = threading.Semaphore(0)
        self.is_asked = threading.Event()
        self.trouble = trouble
        self.heard = 0

    def __enter__(self) -> MadeUpHub:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def post(self, path: str, body: Any = None) -> dict[str, Any]:
        return {"id": "7", "state": "succeeded"}

    def post_text(self, path: str, text: str) -> dict[str, Any]:
        self.is_asked.set()
        self.may_take.acquire()
        if self.trouble:
            raise self.trouble
        self.heard += text.count("\n")
        return self.post(path)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[MadeUpHub]:
    made_up = MadeUpHub()
    monkeypatch.setattr(report, "Hub", lambda config: made_up)
    yield made_up
    made_up.trouble = None
    for _ in range(1000):
        made_up.may_take.release()


def reporter(lease: int = 60) -> Reporter:
    where = Config("http://127.0.0.1:1", "key")
    return Reporter(where, title="Much", key=None, lease=lease, stop=lambda: None)


def say_too_much(to: Reporter) -> threading.Thread:
    """On a thread of its own, as that of a pipe: twice what is kept while the hub is away."""

    def say() -> None:
        for _ in range(HELD_MOST * 4 // (64 * 1024)):
            to.log(LINES)

    thread = threading.Thread(target=say, daemon=True)
    thread.start()
    return thread


def test_a_hub_that_answers_slowly_slows_the_command_down(hub, monkeypatch) -> None:
    monkeypatch.setattr(report, "SILENCE_MOST", 60)
    telling = reporter()
    telling.start()
    pipe = say_too_much(telling)
    assert hub.is_asked.wait(10)
    pipe.join(0.5)
    assert pipe.is_alive()
    assert telling._backlog.size < HELD_MOST * 1.5
    for _ in range(100):
        hub.may_take.release()
    pipe.join(30)
    assert not pipe.is_alive()
    telling.finish(Result(ok=True, summary="", error=""), 30)
    assert hub.heard == HELD_MOST * 4 // 1024


def test_a_hub_that_is_away_slows_nothing_down(hub) -> None:
    hub.trouble = Away("gone")
    hub.may_take.release()
    telling = reporter()
    telling.start()
    began = time.monotonic()
    say_too_much(telling).join(30)
    assert time.monotonic() - began < report.SILENCE_MOST


def test_a_hub_that_hangs_slows_nothing_down_for_long(hub, monkeypatch) -> None:
    monkeypatch.setattr(report, "SILENCE_MOST", 0.2)
    telling = reporter()
    telling.start()
    pipe = say_too_much(telling)
    pipe.join(30)
    assert not pipe.is_alive()
    assert hub.heard == 0


@pytest.mark.parametrize(("lease", "seconds"), [(20, 5), (60, 15), (3600, 15)])
def test_a_wish_to_cancel_is_heard_soon_however_long_the_lease(lease, seconds) -> None:
    assert reporter(lease)._beat_every == seconds
