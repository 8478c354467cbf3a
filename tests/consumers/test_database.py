"""Who asks the database at the same time is looked up together; a thread keeps what is dear to open."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import OperationalError, connection, connections
from django.db.backends.utils import CursorWrapper

from consumers import database, door, subscription
from consumers.database import in_database, together
from tests.live import newcomer, session_of


class Gate:
    """A look that the test lets go on."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.open = threading.Event()

    def __call__(self, keys: list[str]) -> dict[str, str]:
        self.asked.append(keys)
        assert self.open.wait(20)
        return {key: key.upper() for key in keys}


async def test_who_comes_during_a_look_shares_the_next_one():
    gate = Gate()
    first = asyncio.create_task(together(gate, ["a"]))
    while not gate.asked:
        await asyncio.sleep(0.001)
    others = [asyncio.create_task(together(gate, [key])) for key in "bcdb"]
    await asyncio.sleep(0)
    assert gate.asked == [["a"]]  # what was read before the question is no answer
    gate.open.set()
    assert await first == {"a": "A"}
    assert [found["b"] for found in await asyncio.gather(*others)] == ["B"] * 4
    assert gate.asked == [["a"], ["b", "c", "d"]]


async def test_what_fails_for_one_fails_for_that_one_alone():
    def look(keys: list[str]) -> set[str]:
        if "\0" in keys:
            raise ValueError("a NUL")
        return set(keys)

    async def ask(key: str) -> str:
        return "found" if key in await together(look, [key]) else "missing"

    said = await asyncio.gather(*map(ask, ["a", "\0", "b"]), return_exceptions=True)
    assert [said[0], said[2]] == ["found", "found"]
    assert isinstance(said[1], ValueError)


async def test_a_database_that_is_away_is_asked_once_for_all():
    looks: list[int] = []

    def look(keys: list[str]) -> None:
        looks.append(len(keys))
        raise OperationalError("away")

    asking = (together(look, [str(n)]) for n in range(20))
    said = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(one, OperationalError) for one in said)
    assert looks == [20]


async def test_who_has_waited_enough_is_told_and_the_others_get_their_answer(monkeypatch):
    gate = Gate()
    monkeypatch.setattr(database, "PATIENCE", 0.05)
    hasty = asyncio.create_task(together(gate, ["a"]))
    with pytest.raises(OperationalError):
        await hasty
    monkeypatch.setattr(database, "PATIENCE", 20)
    patient = asyncio.create_task(together(gate, ["b"]))
    gate.open.set()
    assert await patient == {"b": "B"}


async def test_a_look_that_fails_after_everybody_has_gone_is_nobodys_fault(monkeypatch, caplog):
    gone = threading.Event()

    def look(keys: list[str]) -> None:
        assert gone.wait(20)
        raise OperationalError("away")

    monkeypatch.setattr(database, "PATIENCE", 0.05)
    with pytest.raises(OperationalError):
        await together(look, ["a"])
    (failing,) = (one.task for one in database._rounds[asyncio.get_running_loop()].values())
    gone.set()
    await asyncio.wait([failing])
    del failing
    gc.collect()
    assert not caplog.records


@pytest.mark.django_db(transaction=True)
async def test_a_crowd_costs_as_many_queries_as_one(monkeypatch):
    """Sessions, rights and heads of fifty people who come at once, in teams of their own."""
    counted: Counter[str] = Counter()
    honest = CursorWrapper.execute

    def execute(self: CursorWrapper, sql: Any, params: Any = None) -> Any:
        if threading.current_thread().name.startswith("doors"):
            counted["queries"] += 1
        return honest(self, sql, params)

    def someone(number: int) -> str:
        user: User = newcomer(f"p{number}")
        user.groups.add(Group.objects.create(name=f"team {number}"))
        return session_of(user)

    async def come(session: str) -> None:
        visitor = await door.identify(None, session)
        assert visitor is not None
        names = list(visitor.implied)
        assert await door.readable(visitor.credential, names) == set(names)
        assert set(names) <= (await together(subscription._standing, names))[1].keys()

    people = [await in_database(someone, number) for number in range(51)]
    monkeypatch.setattr(CursorWrapper, "execute", execute)
    await come(people[0])
    alone = counted.pop("queries")
    await asyncio.gather(*map(come, people[1:]))
    assert alone <= 12
    assert counted["queries"] == alone


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL's are pooled")
def test_a_thread_keeps_its_connection_while_the_file_is_the_same(monkeypatch):
    def opened() -> Any:
        User.objects.exists()
        return connection.connection

    def ask(thread: ThreadPoolExecutor, file: tuple[int, int]) -> Any:
        monkeypatch.setattr(database, "_sqlite_file", lambda: file)
        return thread.submit(database._run, opened).result(20)

    with ThreadPoolExecutor(1) as thread:
        first = ask(thread, (1, 1))
        assert ask(thread, (1, 1)) is first
        second = ask(thread, (1, 2))  # the name is another file's now
        assert second is not first
        assert ask(thread, (1, 2)) is second
        thread.submit(connections.close_all).result(20)
