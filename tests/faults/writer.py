"""What publishes in an experiment, as a process of its own: `python -m tests.faults.writer WORK '{"n": 5}'`.

Prints a JSON line before and after each call: `{"t", "what": "invoke" | "ok" | "fail", "marks": [...]}`; a mark is
what the event's data carries as `mark`, so that the checker finds it again.
"""

from __future__ import annotations

import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")

import django

django.setup()

# isort: split
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

import events
from accounts import access
from accounts.models import ApiKey
from chat import rooms
from chat.models import Membership, Room
from events import layer, sequence
from events.log import LoggedEvent

Loss = dict[str, Any]

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


def stream(
    topics: Sequence[str], n: int, rate: float, mark: str = "", pause: str = "", size: int = 0
) -> None:
    """`n` events, one transaction each, round robin over the topics, `rate` a second (0: as fast as it goes).

    `pause`: 50 ms `before_commit`, or `before_send`: between the commit and the layer. `size`: characters of ballast.
    """
    PAUSES[pause]()
    began = time.monotonic()
    ballast = {"ballast": "x" * size} if size else {}
    for number in range(n):
        if rate:
            time.sleep(max(0.0, began + number / rate - time.monotonic()))
        one = f"{mark}{number}"
        say("invoke", [one])
        try:
            with transaction.atomic():
                events.publish(topics[number % len(topics)], TYPE, {"mark": one, **ballast})
                before_commit()
        except Exception as error:  # noqa: BLE001 - what fails is a result here
            say("fail", [one], error=repr(error))
        else:
            say("ok", [one])


def at_once(topic: str, n: int, capacity: int = 0) -> None:
    """`n` events by one call. `capacity`: the core layer's, of which ours is ten times the stock one."""
    if capacity:
        layer.current().capacity = capacity
    marks = [f"a{number}" for number in range(n)]
    say("invoke", marks)
    events.publish_many([(topic, TYPE, {"mark": mark}) for mark in marks])
    say("ok", marks)


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


# --- rights that end


def revoke(losses: Sequence[Loss], spread: float, seed: int) -> None:
    """Take from each what `how` names, in any order, over `spread` seconds; each commit is an `ok` line with its
    `who` as the mark. `silently`: by a statement that fires no signal."""
    dice = random.Random(seed)
    for loss in dice.sample(losses, len(losses)):
        time.sleep(dice.uniform(0, 2 * spread / len(losses)))
        ENDS[loss["how"]](loss)
        say("ok", [loss["who"]])


def _lose_account_flag(flag: str) -> Callable[[Loss], None]:
    def lose(loss: Loss) -> None:
        people = get_user_model()._default_manager.filter(pk=loss["user"])
        if loss["silently"]:
            people.update(**{flag: False})
            return
        user = people.get()
        setattr(user, flag, False)
        user.save()

    return lose


def _leave_room(loss: Loss) -> None:
    if loss["silently"]:
        Membership.objects.filter(room=loss["room"], user=loss["user"]).delete()
        return
    room = Room.objects.select_related("owner").get(pk=loss["room"])
    assert room.owner is not None
    rooms.remove(room, _user(loss), by=room.owner)


def _leave_team(loss: Loss) -> None:
    if loss["silently"]:
        User.groups.through.objects.filter(user=loss["user"], group=loss["team"]).delete()
    else:
        _user(loss).groups.remove(loss["team"])


def _revoke_key(loss: Loss) -> None:
    keys = ApiKey.objects.filter(user=loss["user"])
    if loss["silently"]:
        keys.update(revoked_at=timezone.now())
    else:
        access.revoke(keys.get())


def _end_session(loss: Loss) -> None:
    found = Session.objects.filter(pk=loss["session"])
    if loss["silently"]:
        found.update(expire_date=timezone.now())
    else:
        found.get().delete()


def _user(loss: Loss) -> User:
    return get_user_model()._default_manager.get(pk=loss["user"])


ENDS: Final[dict[str, Callable[[Loss], None]]] = {
    "flag": _lose_account_flag("is_superuser"),
    "room": _leave_room,
    "team": _leave_team,
    "active": _lose_account_flag("is_active"),
    "key": _revoke_key,
    "session": _end_session,
}
WORKS: Final[dict[str, Callable[..., None]]] = {
    "stream": stream,
    "at_once": at_once,
    "revoke": revoke,
}

if __name__ == "__main__":
    WORKS[sys.argv[1]](**json.loads(sys.argv[2]))
