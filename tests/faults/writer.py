"""What publishes in an experiment, as a process of its own: `python -m tests.faults.writer WORK '{"n": 5}'`.

Prints a JSON line before and after each call: `{"t", "what": "invoke" | "ok" | "fail", "marks": [...]}`; a mark is
what the event's data carries as `mark`, so that the checker finds it again.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")

import django

django.setup()

# isort: split
from django.db import transaction

import events
from events import sequence
from events.log import LoggedEvent

TYPE: Final = "test.fault"
PAUSE: Final = 0.05


def say(what: str, marks: Iterable[str], **more: Any) -> None:
    line = {
        "t": time.monotonic(),
        "what": what,
        "who": f"writer-{os.getpid()}",
        "marks": list(marks),
    }
    print(json.dumps({**line, **more}), flush=True)


def stream(topics: Sequence[str], n: int, rate: float, mark: str = "", pause: str = "") -> None:
    """`n` events, one transaction each, round robin over the topics, `rate` a second (0: as fast as it goes).

    `pause`: 50 ms `before_commit`, or `before_send`: between the commit and the layer.
    """
    PAUSES[pause]()
    began = time.monotonic()
    for number in range(n):
        if rate:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
        one = f"{mark}{number}"
        say("invoke", [one])
        try:
            with transaction.atomic():
                events.publish(topics[number % len(topics)], TYPE, {"mark": one})
                before_commit()
        except Exception as error:  # noqa: BLE001 - what fails is a result here
            say("fail", [one], error=repr(error))
        else:
            say("ok", [one])


def before_commit() -> None:
    """Where a transaction may be held open."""


def _pause_before_commit() -> None:
    global before_commit
    before_commit = lambda: time.sleep(PAUSE)  # noqa: E731


def _pause_before_send() -> None:
    honest = sequence._announce

    def announce(current: str, numbered: list[LoggedEvent]) -> None:
        time.sleep(PAUSE)
        honest(current, numbered)

    sequence._announce = announce


PAUSES: Final[dict[str, Callable[[], None]]] = {
    "": lambda: None,
    "before_commit": _pause_before_commit,
    "before_send": _pause_before_send,
}
WORKS: Final[dict[str, Callable[..., None]]] = {"stream": stream}

if __name__ == "__main__":
    WORKS[sys.argv[1]](**json.loads(sys.argv[2]))
