"""E11: a log that went back while no hub ran; who comes back ahead of it, level with it or behind it begins anew."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from operator import methodcaller
from pathlib import Path
from typing import Any, Final

import pytest

from tests.faults.conftest import Report
from tests.hub.test_backups import Hub, hubs  # noqa: F401
from tests.live import free_port
from tests.reference_client import ReferenceClient, Transport, parse_cursor

TRANSPORTS: Final[tuple[Transport, ...]] = ("websocket", "sse", "long-poll", "poll")
PLACES: Final = ("behind", "level", "ahead")
EVERYBODY: Final = "group.dashboard"
EACH: Final = 20
"""Events on each topic between two moments."""
PATIENCE: Final = 90.0

PEOPLE: Final = """
import json
from django.conf import settings
from tests.live import cookies_of
people = [User.objects.create(username=f'p{n}') for n in range(%d)]
print(json.dumps([[user.pk, cookies_of(user)] for user in people]))
"""
PUBLISH: Final = """
events.publish_many((topic, 'test.restore', {'mark': f'%(mark)s{n}'}) for n in range(%(n)d) for topic in %(topics)r)
"""
GO_BACK: Final = """
from events.models import Topic
Event.objects.filter(offset__gt=%(head)d, topic__in=%(topics)r).delete()
Topic.objects.filter(name__in=%(topics)r).update(head=%(head)d)
"""
ROWS: Final = """
import json
rows = Event.objects.filter(topic__in=%(topics)r).order_by('topic', 'offset').values_list('topic', 'offset', 'data')
print(json.dumps([[topic, offset, json.loads(data)['mark']] for topic, offset, data in rows]))
"""

Row = tuple[int, str]  # offset, mark
Rows = dict[str, list[Row]]

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(600)]


@dataclass
class Returning:
    place: str
    client: ReferenceClient
    own: str
    resets: dict[str, tuple[int, int, str]] = field(default_factory=dict)
    """Of each topic how much had been applied, the offset and the reason."""
    resets_again: int = 0

    def reset(self, reset: dict[str, Any]) -> None:
        name = reset["topic"]
        self.resets_again += name in self.resets
        self.resets[name] = len(self.applied(name)), reset["offset"], reset["reason"]

    def applied(self, name: str) -> list[Row]:
        return [(e["offset"], e["data"]["mark"]) for e in self.client.applied if e["topic"] == name]

    def has(self, offset: int) -> bool:
        read = parse_cursor(self.client.cursor)
        return read is not None and all(
            read.offsets.get(name, 0) >= offset for name in (self.own, EVERYBODY)
        )

    def wrong(self, former: Rows, rows: Rows, head: int) -> list[str]:
        """What it should not have done: it saw the former log up to where it left, was reset at the head of the new
        one, and saw what followed there."""
        left_at = (PLACES.index(self.place) + 1) * EACH
        found = []
        for name in (self.own, EVERYBODY):
            applied = self.applied(name)
            if name not in self.resets:
                found.append(f"no reset of {name}")
                continue
            before, offset, reason = self.resets[name]
            if (offset, reason) != (head, "epoch"):
                found.append(f"reset of {name} to {offset}: {reason}")
            if applied[:before] != former[name][:left_at]:
                found.append(f"{before} of {name} before the reset")
            if applied[before:] != [row for row in rows[name] if row[0] > head]:
                found.append(f"{len(applied) - before} of {name} after the reset")
        return [f"{self.client.transport}, {self.place}: {fault}" for fault in found]


def rows_of(hub: Hub, names: list[str]) -> Rows:
    rows: Rows = {name: [] for name in names}
    for name, offset, mark in json.loads(hub.run(ROWS % {"topics": names})):
        rows[name].append((offset, mark))
    return rows


def restored(one: Hub, two: Hub, file: Path, names: list[str]) -> Hub:
    done = two.manage("restore", str(file))
    assert done.returncode == 0, done.stderr
    return two


def declared(one: Hub, two: Hub, file: Path, names: list[str]) -> Hub:
    """Nothing but the command says so."""
    one.run(GO_BACK % {"head": 2 * EACH, "topics": names})
    (one.home / "heads.json").unlink()
    done = one.manage("new_epoch")
    assert done.returncode == 0, done.stderr
    return one


def noticed(one: Hub, two: Hub, file: Path, names: list[str]) -> Hub:
    """Nothing but the copy of the newest events beside the database says so."""
    one.run(GO_BACK % {"head": 2 * EACH, "topics": names})
    return one


@pytest.mark.experiment("E11")
@pytest.mark.parametrize("go_back", [restored, declared, noticed])
async def test_who_comes_back_to_an_older_log_mixes_nothing(
    go_back: Callable[[Hub, Hub, Path, list[str]], Hub],
    hubs: tuple[Hub, Hub],  # noqa: F811
    tmp_path: Path,
    report: Report,
):
    """As many events as were lost are published again before anybody comes: positions alone would tell nothing."""
    one, two = hubs
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    for hub in hubs:
        hub.env |= {"HUB_PORT": str(port), "HUB_URL": url}
    server = ("-m", "hub.server", "--port", str(port))
    file = tmp_path / "hub.backup"
    run = asyncio.to_thread
    assert (await run(one.manage, "migrate", "-v0")).returncode == 0
    people = json.loads(await run(one.run, PEOPLE % (len(PLACES) * len(TRANSPORTS))))
    names = [EVERYBODY, *(f"user.{pk}" for pk, _ in people)]

    async def publish(hub: Hub, mark: str) -> None:
        await run(hub.run, PUBLISH % {"mark": mark, "n": EACH, "topics": names})

    everybody: list[Returning] = []
    async with contextlib.AsyncExitStack() as clients:
        with one.running(*server, port=port):
            for number, (pk, cookies) in enumerate(people):
                place = PLACES[number // len(TRANSPORTS)]
                transport = TRANSPORTS[number % len(TRANSPORTS)]
                client = ReferenceClient(
                    url,
                    transport=transport,
                    cookies=cookies,
                    poll_every=0.5,
                    on_reset=lambda reset, number=number: everybody[number].reset(reset),  # type: ignore[misc]
                )
                everybody.append(Returning(place, client, f"user.{pk}"))
                await clients.enter_async_context(client)
            await all_of(everybody, methodcaller("has", 0))
            for step, place in enumerate(PLACES, 1):
                await publish(one, place)
                there = [each for each in everybody if PLACES.index(each.place) >= step - 1]
                await all_of(there, methodcaller("has", step * EACH))
                for each in there:
                    if each.place == place != "ahead":
                        await each.client.stop()
                if place == "level":
                    assert (await run(one.manage, "backup", str(file))).returncode == 0
            async with asyncio.timeout(PATIENCE):
                while f'"{EVERYBODY}": [{3 * EACH},' not in mirror(one):
                    await asyncio.sleep(0.2)
        former = await run(rows_of, one, names)
        hub = await run(go_back, one, two, file, names)
        await publish(hub, "again")
        with hub.running(*server, port=port):
            for each in everybody:
                if each.place != "ahead":
                    await each.client.__aenter__()
            await all_of(everybody, lambda each: len(each.resets) >= 2)
            await publish(hub, "after")
            await all_of(everybody, methodcaller("has", 4 * EACH))
        rows = await run(rows_of, hub, names)
    wrong = [fault for each in everybody for fault in each.wrong(former, rows, 3 * EACH)]
    again = sum(each.resets_again for each in everybody)
    report(n=len(everybody), worst=f"{len(wrong)} wrong {wrong[:2] or ''}, {again} reset twice")
    assert wrong == []


async def all_of(people: list[Returning], true: Callable[[Returning], bool]) -> None:
    for each in people:
        await each.client.until(partial(true, each), PATIENCE)


def mirror(hub: Hub) -> str:
    with contextlib.suppress(OSError):
        return (hub.home / "heads.json").read_text(encoding="utf-8")
    return ""
