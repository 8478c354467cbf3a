"""Tracked tasks as a shop would write them, and some that behave badly."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path
from typing import Any

from celery import shared_task
from django import forms

from tasks import attach, log, progress, track, tracked
from tasks.running import current
from tests.shop.nesting import nest

logger = logging.getLogger(__name__)


class StocktakeForm(forms.Form):
    shelves = forms.IntegerField(label="Shelves", min_value=1, max_value=1_000_000)
    pause = forms.FloatField(label="Seconds each", required=False, initial=0)
    corners = forms.MultipleChoiceField(
        label="Corners", choices=[("n", "North"), ("s", "South")], required=False
    )
    gently = forms.BooleanField(label="Gently", required=False)


@tracked(title="Stocktake", form=StocktakeForm)
@shared_task
def stocktake(
    shelves: int, pause: float | None = 0, corners: list[str] | None = None, gently: bool = False
) -> str:
    for shelf in track(range(shelves), note="counting"):
        log(f"shelf {shelf + 1}")
        time.sleep(pause or 0)
    with attach("shelves.csv", "text/csv") as out:
        out.write("shelf\n")
        for shelf in range(shelves):
            out.write(f"{shelf + 1}\n")
    return f"{shelves} shelves counted"


@tracked(title="Broken scales")
@shared_task
def broken(message: str = "the scales are broken") -> None:
    log("about to weigh")
    raise ValueError(message)


@tracked(title="Tactful")
@shared_task
def tactful(secret: str) -> None:
    """Fails, and does not say over what."""
    logger.warning("about to fail")
    raise ValueError("it can't be said why")


@tracked(title="Deaf")
@shared_task
def deaf(seconds: float, mark: str = "") -> None:
    """Never says how far it is, so never hears that it is to stop."""
    _mark(mark)
    time.sleep(seconds)


@tracked(title="Suicide")
@shared_task
def suicide() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@tracked(title="Effect")
@shared_task
def effect(mark: str, seconds: float = 0, steps: int = 1) -> str:
    """Leaves one line in a file: how often it ran."""
    _mark(mark)
    for step in range(steps):
        progress(step, steps)
        time.sleep(seconds / steps)
    return "one effect"


@tracked(title="Third time lucky")
@shared_task(
    bind=True, autoretry_for=(ConnectionError,), retry_backoff=False, default_retry_delay=0
)
def third_time(self: Any, mark: str) -> str:
    _mark(mark)
    if self.request.retries < 2:
        raise ConnectionError(f"try {self.request.retries + 1} failed")
    return "third time lucky"


@tracked(title="Later")
@shared_task(bind=True)
def later(self: Any, shelves: int, wait: float = 0, queue: str = "") -> str:
    """Asks to be run again, with other arguments and after a while, until no shelf is left."""
    if shelves:
        more = {"queue": queue} if queue else {}
        raise self.retry(kwargs={"shelves": shelves - 1, "wait": wait}, countdown=wait, **more)
    return f"waited {wait:g} s each time"


@tracked(title="Boxes within boxes")
@shared_task
def boxes(depth: int) -> str:
    return f"[{boxes(depth - 1)}]" if depth else "[]"


@tracked(title="Wrong turn")
@shared_task(bind=True)
def wrong_turn(self: Any) -> None:
    self.retry(kwargs={"shelves": 1})


@tracked(title="For managers", form=StocktakeForm, permission="shop.change_order")
@shared_task
def managed(shelves: int, **_: object) -> None:
    log(f"{shelves} shelves")


def _mark(path: str) -> None:
    """A line with the process and the attempt that ran."""
    job = current()
    if path and job is not None:
        with Path(path).open("a") as out:
            out.write(f"{os.getpid()} {job.attempt}\n")


@tracked(title="Limited")
@shared_task(time_limit=2)
def limited() -> None:
    time.sleep(60)


@shared_task
def nest_in_task(mark: str, depth: int, ending: str) -> None:
    nest(mark, depth, ending)
