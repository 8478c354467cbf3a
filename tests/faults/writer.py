"""What publishes in an experiment, as a process of its own: `python -m tests.faults.writer WORK '{"n": 5}' [DEFECT]`.

Prints a JSON line before and after each call: `{"t", "what": "invoke" | "ok" | "fail", "marks": [...]}`; a mark is
what the event's data carries as `mark`, so that the checker finds it again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hub.settings")

import django

django.setup()

# isort: split
from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection, connections, transaction
from django.db.models.signals import post_save
from django.utils import timezone

import events
from accounts import access
from accounts.models import ApiKey
from chat import messages, rooms
from chat.models import Membership, Room
from events import layer, sequence
from events.log import LoggedEvent
from notifications import model_events, watch

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


def crossing(topics: Sequence[str], n: int, writers: int, seed: int, mark: str = "") -> None:
    """`n` events by so many threads, whose transactions each stay open for a while: where the database lets several write
    at a time they commit in another order than they publish in."""
    numbers = iter(range(n))

    def write(dice: random.Random) -> None:
        for number in numbers:
            one = f"{mark}{number}"
            say("invoke", [one])
            with transaction.atomic():
                events.publish(dice.choice(topics), TYPE, {"mark": one})
                time.sleep(dice.uniform(0, PAUSE))
            say("ok", [one])
        connection.close()

    threads = [
        threading.Thread(target=write, args=(random.Random(seed + at),)) for at in range(writers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# --- watched rows, and processes that die


class Badly(Exception):
    """How a transaction ends that is to be undone."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def in_a_child(work: Callable[[], object], kill_after: float | None = None) -> None:
    """Run it in a process of its own that is killed at its end at the latest, or so long after it began."""
    connections.close_all()
    if connection.vendor == "postgresql":
        cast(Any, connection).close_pool()  # its sessions would be the child's as well
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            connection.ensure_connection()
            os.write(writing, b"!")
            work()
        finally:
            die()
    os.read(reading, 1)
    if kill_after is not None:
        time.sleep(kill_after)
        os.kill(child, signal.SIGKILL)
    _child, status = os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status


doomed = ""
"""The moment at which this process dies."""


def dies_at(*moments: str) -> Callable[..., None]:
    def look(**_: Any) -> None:
        if doomed in moments:
            die()

    return look


dies_first, dies_last = dies_at("before_handler"), dies_at("after_handler")


def watch_orders(topic: str) -> None:
    """Their events carry as mark what happened to which one."""
    from tests.shop.models import Order

    post_save.connect(dies_first, sender=Order)
    watch(Order, topic=topic, data=lambda order, change: {"mark": f"{order.name} {change}"})
    post_save.connect(dies_last, sender=Order)


def dies_before(owner: Any, name: str, moment: str) -> None:
    honest = getattr(owner, name)

    def work(*args: Any, **kwargs: Any) -> Any:
        if doomed == moment:
            die()
        return honest(*args, **kwargs)

    setattr(owner, name, work)


def doomed_saves(topic: str, n: int, mark: str, seed: int) -> None:
    """`n` orders, each saved outside any transaction by a process that is killed meanwhile: at the moments in turn, and
    at any moment."""
    global doomed
    from tests.shop.models import Order

    dice = random.Random(seed)
    watch_orders(topic)
    dies_before(model_events, "publish_many", "in_handler")
    dies_before(sequence, "flush_on_commit", "event_stored")
    dies_before(sequence, "flush", "before_flush")
    for number in range(n):
        doomed = SAVED_UNTIL[number % len(SAVED_UNTIL)]
        name = f"{mark}{number}"
        say("invoke", [f"{name} created"], moment=doomed)
        in_a_child(
            Order(name=name).save,
            dice.uniform(0, ANY_MOMENT) if doomed == "any" else None,
        )


SAVED_UNTIL: Final = (
    *("before_handler", "any", "in_handler", "event_stored", "any", "after_handler", "any"),
    "before_flush",
)
ANY_MOMENT: Final = 0.012
"""Seconds that a save with its flush takes, about."""


def doomed_publishing(topics: Sequence[str], n: int, mark: str, pause: float) -> None:
    """`n` transactions round robin over the topics, each in a process that is killed once it has committed: before
    the events are numbered, between two transactions that number them, or before they are sent."""
    global doomed
    dies_before(sequence, "flush", "before_flush")
    dies_before(sequence, "_announce", "before_send")
    second = sequence._announce

    def announce(current: str, numbered: list[LoggedEvent]) -> None:
        second(current, numbered)
        if doomed == "between_flushes":
            die()

    sequence._announce = announce
    for number in range(n):
        doomed = COMMITTED_UNTIL[number % len(COMMITTED_UNTIL)]
        count = sequence.EVENTS_PER_TRANSACTION + 1 if doomed == "between_flushes" else 1
        marks = [f"{mark}{number}.{at}" for at in range(count)]
        topic = topics[number % len(topics)]
        say("invoke", marks, moment=doomed)
        in_a_child(lambda: events.publish_many((topic, TYPE, {"mark": one}) for one in marks))  # noqa: B023
        say("ok", marks)
        time.sleep(pause)


COMMITTED_UNTIL: Final = (
    *("before_flush", "before_send", "before_flush", "before_send"),
    *("before_flush", "before_send", "between_flushes"),
)


def transactions(topic: str, n: int, mark: str) -> None:
    """Each saves an order and publishes; every other one ends badly, in five ways in turn. Those that commit have a
    savepoint in them that does not."""
    from tests.shop.models import Order

    watch_orders(topic)

    def write(name: str) -> None:
        Order.objects.create(name=name)
        events.publish(topic, TYPE, {"mark": f"{name} published"})

    def commit(name: str) -> None:
        with transaction.atomic():
            write(name)
            try:
                with transaction.atomic():
                    write(f"{name} inner")
                    raise Badly
            except Badly:
                return

    def raise_(name: str) -> None:
        with transaction.atomic():
            write(name)
            raise Badly

    def set_rollback(name: str) -> None:
        with transaction.atomic():
            write(name)
            transaction.set_rollback(True)

    def break_a_statement(name: str) -> None:
        with transaction.atomic():
            write(name)
            write(name)  # the name is unique

    def fail_to_commit(name: str) -> None:
        with transaction.atomic():
            write(name)
            Order.objects.create(
                name=f"{name} orphan", customer_id=2**40
            )  # looked at by the commit

    def be_killed(name: str) -> None:
        def work() -> None:
            with transaction.atomic():
                write(name)
                die()

        in_a_child(work)

    ways = [raise_, set_rollback, break_a_statement, fail_to_commit, be_killed]
    for number in range(n):
        name = f"{mark}{number}"
        marks = [f"{name} created", f"{name} published"]
        say("invoke", marks)
        try:
            (ways[number // 2 % 5] if number % 2 else commit)(name)
        except Exception as error:  # noqa: BLE001 - what fails is a result here
            say("fail", marks, error=repr(error))
        else:
            say("fail" if number % 2 else "ok", marks)


def in_bulk(n: int, mark: str) -> None:
    """`n` orders made at once, all of them updated at once, and `n` others deleted with their customer."""
    from tests.shop.models import Customer, Order

    customer = Customer.objects.create(name=mark)
    Order.objects.bulk_create(Order(name=f"{mark}made {at}") for at in range(n))
    Order.objects.filter(name__startswith=f"{mark}made").update(state="late")
    Order.objects.bulk_create(
        Order(name=f"{mark}cascade {at}", customer=customer) for at in range(n)
    )
    customer.delete()


def nest_in_tasks(mark: str) -> None:
    """Have workers save orders in transactions in transactions."""
    from tests.shop.nesting import DEPTHS, ENDINGS
    from tests.shop.tasks import nest_in_task

    for depth in DEPTHS:
        for ending in ENDINGS:
            nest_in_task.delay(f"{mark}{depth}-{ending}-", depth, ending)


def start_jobs(owner: int, marks: str, n: int, seconds: float) -> None:
    """Queue `n` jobs, of which every fourth fails twice before its third attempt succeeds; an `ok` line with the job's
    id as the mark for each. Each attempt leaves a line in the file of that name under `marks`."""
    from tests.shop.tasks import effect, third_time

    user = get_user_model()._default_manager.get(pk=owner)
    for number in range(n):
        mark = f"{marks}/{number}"
        if number % 4:
            job = effect.start(owner=user, mark=mark, seconds=seconds, steps=10)
        else:
            job = third_time.start(owner=user, mark=mark)
        say("ok", [str(job.pk)])


def talk(room: int, author: int, names: str, n: int, rate: float, mark: str = "") -> None:
    """`n` messages, `rate` a second; every twentieth names somebody."""
    user = _user({"user": author})
    began = time.monotonic()
    for number in range(n):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        said = f"{mark}{number}" + ("" if number % 20 else f" @{names}")
        messages.post(user, room, uuid.uuid4(), said)


def fail_at(owner: int, secret: str) -> None:
    """Queue a job that fails over a secret."""
    from tests.shop.tasks import tactful

    tactful.start(owner=get_user_model()._default_manager.get(pk=owner), secret=secret)


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
    work.__name__: work
    for work in (
        stream,
        at_once,
        crossing,
        doomed_saves,
        doomed_publishing,
        transactions,
        in_bulk,
        nest_in_tasks,
        start_jobs,
        talk,
        fail_at,
        revoke,
    )
}

if __name__ == "__main__":
    if sys.argv[3:]:
        from tests.faults import planted

        planted.plant(sys.argv[3])
    WORKS[sys.argv[1]](**json.loads(sys.argv[2]))
