"""E11, E12: from any position one goes on or is told that one can't; a snapshot and what follows it are a fresh one."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from django.conf import settings as hub_settings
from django.contrib.auth.models import Group, User

from chat import marks, messages, rooms
from chat.models import Room
from consumers.database import in_database
from events import epoch as epochs
from events import log, publish_many, topics
from events.log import LoggedEvent
from events.tasks import prune
from notifications import announcements, inbox, notify, watch
from notifications.model_events import unwatch
from notifications.models import Notification
from tasks import jobs, watchdog
from tasks.models import Job, Outage, State
from tests.chat import test_snapshot as of_rooms
from tests.contracts.clients import TRANSPORTS, Turned, listening
from tests.faults.conftest import Report
from tests.live import LiveServer, cookies_of, newcomer
from tests.notifications import test_announcements as of_announcements
from tests.notifications import test_inbox as of_inbox
from tests.reference_client import ReferenceClient, parse_cursor
from tests.shop.models import Order
from tests.web import test_dashboard as of_dashboard

RETENTION: Final = 1000
REFUSED: Final = {400, 4400}

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(600)]


def signed_in(user: User, url: str) -> dict[str, str]:
    cookies = cookies_of(user)
    return {"Cookie": "; ".join(f"{k}={v}" for k, v in cookies.items()), "Origin": url}


# --- E11


@dataclass(frozen=True)
class Answer:
    """What came back to one who comes with a cursor, up to the event that is published when it is there."""

    offsets: list[int]
    resets: list[tuple[str, int]]
    turned: int | None = None


async def come_with(
    server: LiveServer, transport: str, headers: dict[str, str], topic: str, cursor: str
) -> Answer:
    try:
        async with listening(transport, server, cursor=cursor, headers=headers) as heard:
            await in_database(publish_many, [(topic, "test.after", {})])
            head = (await in_database(log.heads, [topic]))[topic]
            await heard.until(lambda heard: heard.offsets(topic)[-1:] == [head])
            return Answer(
                heard.offsets(topic),
                [(one["reason"], one["offset"]) for one in heard.resets if one["topic"] == topic],
            )
    except Turned as turned:
        return Answer([], [], turned.code)


@pytest.mark.experiment("E11")
async def test_who_was_away_goes_on_or_is_reset(
    hub_server: LiveServer, monkeypatch: pytest.MonkeyPatch, report: Report
):
    monkeypatch.setattr(hub_settings, "HUB_RETENTION_COUNT", RETENTION)
    epoch = await in_database(epochs.current)
    wrong: list[str] = []
    asked = 0
    for transport in TRANSPORTS:
        user = await in_database(newcomer)
        headers = await in_database(signed_in, user, hub_server.url)
        topic = topics.user(user.pk)
        head = 0

        async def fill(topic: str = topic) -> int:
            """Publish and prune until exactly so many are kept."""
            rows = [(topic, "test.away", {"n": n}) for n in range(RETENTION + 10)]
            await in_database(publish_many, rows)
            await in_database(prune)
            reach = (await in_database(log.reach, [topic]))[topic]
            assert reach.head - reach.floor == RETENTION
            return reach.head

        for away, resumes in ((RETENTION - 1, True), (RETENTION, True), (RETENTION + 1, False)):
            head = await fill()
            answer = await come_with(
                hub_server, transport, headers, topic, f"{epoch}~{topic}:{head - away}"
            )
            first = head - away if resumes else head
            resets = [] if resumes else [("expired", head)]
            asked += 1
            if answer != Answer(list(range(first + 1, head + 2)), resets):
                wrong.append(f"{transport}, away {away}: {answer.resets} {len(answer.offsets)}")
        head += 1
        for cursor, reason in (
            (f"{epoch}~{topic}:{head + 1000}", "ahead"),
            (f"{epoch}~{topic}:{2**63 - 1}", "ahead"),
            (f"0123456789abcdef~{topic}:{head}", "epoch"),
        ):
            answer = await come_with(hub_server, transport, headers, topic, cursor)
            head = (await in_database(log.heads, [topic]))[topic]
            asked += 1
            if answer != Answer([head], [(reason, head - 1)]):
                wrong.append(f"{transport}, {cursor}: {answer}")
        for cursor in bad_cursors(epoch, topic):
            answer = await come_with(hub_server, transport, headers, topic, cursor)
            asked += 1
            if answer.turned not in REFUSED:
                wrong.append(f"{transport}, {cursor[:80]}: {answer}")
    report(n=asked, worst=f"{len(wrong)} wrong answers {wrong[:2] or ''}".strip())
    assert wrong == []


def bad_cursors(epoch: str, topic: str) -> list[str]:
    return [
        f"{epoch}~{topic}:-1",
        f"{epoch}~{topic}:{2**63}",
        f"{epoch}~{topic}:{10**30}",
        f"{epoch}~{topic}:1.5",
        f"{epoch}~{topic}:ten",
        f"{epoch}~{topic}:",
        f"{epoch}~{topic}:٣",
        f"{epoch}~{topic}:1~{topic}:1",
        f"{epoch}~no such topic:1",
        "how far I have read",
        "~",
        "{}",
        f"{epoch}\x00~{topic}:1",
        "~".join([epoch, *(f"group.g{n:06}:1" for n in range(700))]),  # 10 KB
        "x" * 10 * 1024,
    ]


# --- E12

FIELDS: Final = ("name", "state")
OF_ATTEMPT: Final = (
    *("state", "queued_at", "started_at", "finished_at"),
    *("done", "total", "summary", "error"),
)


@dataclass
class Person:
    user: User
    client: ReferenceClient
    http: httpx.AsyncClient

    async def get(self, address: str) -> Any:
        """None where nothing is, or nothing to be seen."""
        answer = await self.http.get(f"/api/v1{address}")
        assert answer.status_code in {200, 404}, f"{address}: {answer.text}"
        return answer.json() if answer.status_code == 200 else None

    async def level(self) -> None:
        """Wait until the client has what the log holds."""
        heads = await in_database(log.heads, self.client.delivery.topics)

        def has_all() -> bool:
            read = parse_cursor(self.client.cursor)
            known = read.offsets if read else {}
            return all(known.get(name, head) >= head for name, head in heads.items())

        await self.client.until(has_all)

    def after(self, cursor: str, names: Iterable[str]) -> list[LoggedEvent]:
        """What the client was handed of these topics above a snapshot's cursor, topic by topic; a topic that is not in
        the cursor says nothing to the snapshot."""
        read = parse_cursor(cursor)
        assert read is not None
        return [
            LoggedEvent(
                each["topic"], each["offset"], each["type"], json.dumps(each["data"]), each["at"]
            )
            for name in names
            for each in self.client.applied
            if each["topic"] == name and each["offset"] > read.offsets.get(name, 2**63)
        ]


class View:
    """Something that a page shows: its snapshot, and what a client makes of one and the events after it."""

    def __init__(self, person: Person, *names: str) -> None:
        self.person, self.me = person, person.user.pk
        self.topics = names

    async def snapshot(self) -> Any:
        raise NotImplementedError

    def apply(self, state: Any, events: list[LoggedEvent]) -> Any:
        raise NotImplementedError

    def after(self, state: Any) -> Any:
        return self.apply(state, self.person.after(state["cursor"], self.topics))

    def shown(self, state: Any) -> Any:
        return None if state is None else self.apply(state, [])


class InboxView(View):
    async def snapshot(self) -> Any:
        return await self.person.get("/inbox?limit=200")

    def apply(self, state: Any, events: list[LoggedEvent]) -> Any:
        return of_inbox.apply(state, events)


class AnnouncementsView(View):
    async def snapshot(self) -> Any:
        return await self.person.get("/announcements?limit=100")

    def apply(self, state: Any, events: list[LoggedEvent]) -> Any:
        return of_announcements.applied(state["items"], events)


class JobsView(View):
    async def snapshot(self) -> Any:
        return await self.person.get("/dashboard")

    def apply(self, state: Any, events: list[LoggedEvent]) -> Any:
        return of_dashboard.apply(state["jobs"], self.person.user, events)


class JobView(View):
    async def snapshot(self) -> Any:
        return await self.person.get(f"/jobs/{self.topics[0].removeprefix('job.')}")

    def apply(self, state: Any, events: list[LoggedEvent]) -> Any:
        """As `hub-job` does: an event tells of the job and of its latest attempt."""
        for event in events:
            attempt = {"number": event.data["attempt"]} | {n: event.data[n] for n in OF_ATTEMPT}
            earlier = [e for e in state["attempts"] if e["number"] != attempt["number"]]
            state = {**state, **event.data, "attempts": [attempt, *earlier]}
        return {name: value for name, value in state.items() if name != "cursor"}


class RoomView(View):
    async def snapshot(self) -> Any:
        number = self.topics[1].removeprefix("room.")
        room = await self.person.get(f"/rooms/{number}")
        said = await self.person.get(f"/rooms/{number}/messages?limit=200")
        if room is None:
            return None
        return {"cursor": room.pop("cursor"), "room": room, "messages": said["items"]}

    def apply(self, state: Any, events: list[LoggedEvent]) -> Any:
        ours = [event for event in events if event.type.startswith(of_rooms.OURS)]
        about = [
            e for e in ours if e.topic == self.topics[1] or e.data["id"] == state["room"]["id"]
        ]
        return of_rooms.shown(of_rooms.apply(state, about, self.me))


class OpenRoomsView(View):
    """Which open rooms there are, and what they are called."""

    async def snapshot(self) -> Any:
        return await self.person.get("/rooms")

    def apply(self, state: Any, events: list[LoggedEvent]) -> Any:
        known = {each["id"]: each["name"] for each in state["items"]}
        for event in events:
            if event.type in {"room.created", "room.updated"}:
                known[event.data["id"]] = event.data["name"]
            elif event.type == "room.deleted":
                known.pop(event.data["id"], None)
        return known


class LogView(View):
    async def snapshot(self) -> Any:
        return await self.person.get(f"/events?topic={self.topics[0]}&limit=100")

    def apply(self, state: Any, events: list[LoggedEvent]) -> Any:
        return [*(event.as_dict() for event in reversed(events)), *state["items"]][:100]


class OrdersView(View):
    """The rows of a watched model."""

    async def snapshot(self) -> Any:
        return await in_database(self._snapshot)

    def _snapshot(self) -> Any:
        cursor = log.cursor(self.topics)
        rows = {row["pk"]: row for row in Order.objects.values("pk", *FIELDS)}
        return {"cursor": cursor, "rows": rows}

    def apply(self, state: Any, events: list[LoggedEvent]) -> Any:
        rows = dict(state["rows"])
        for event in events:
            if event.type == "shop.order.deleted":
                rows.pop(event.data["pk"], None)
            elif event.type.startswith("shop.order."):
                rows[event.data["pk"]] = {"pk": event.data["pk"], **event.data["fields"]}
        return rows


def views_of(person: Person, job: Job, room: Room, team: Group) -> list[View]:
    own, here = topics.user(person.user.pk), topics.room(room.pk)
    found = [
        InboxView(person, own),
        AnnouncementsView(person, topics.ANNOUNCEMENTS, topics.team(team.pk)),
        JobsView(person, own, topics.DASHBOARD),
        RoomView(person, own, here),
        OpenRoomsView(person, topics.DASHBOARD, here),
        LogView(person, SALES),
        OrdersView(person, SALES),
    ]
    if job.owner_id == person.user.pk:
        found.append(JobView(person, topics.job(job.pk)))
    return found


SALES: Final = "group.sales"


@asynccontextmanager
async def somebody(server: LiveServer, user: User, *names: str) -> AsyncIterator[Person]:
    cookies = await in_database(cookies_of, user)
    async with (
        ReferenceClient(server.url, cookies=cookies, topics=names) as client,
        httpx.AsyncClient(base_url=server.url, cookies=cookies, timeout=30) as http,
    ):
        await client.until_live()
        yield Person(user, client, http)


def acts_of(alice: User, bob: User, job: Job, room: Room, team: Group) -> list[Callable[[], Any]]:
    """All that may happen, in an order in which it can."""
    said: list[Any] = []
    written: list[Any] = []
    orders: list[Order] = []

    def newest(at: int) -> int:
        mine = Notification.objects.filter(recipient=alice).order_by("-pk")
        return mine.values_list("pk", flat=True)[at]

    def announce(title: str, **more: Any) -> None:
        written.append(announcements.create(bob, title, **more))

    def post(user: User, body: str) -> None:
        said.append(messages.post(user, room.pk, uuid.uuid4(), body)[0])

    def save(name: str) -> None:
        orders.append(Order.objects.create(name=f"{name} {uuid.uuid4()}"))

    return [
        lambda: notify(to=[alice, bob], kind="k", title="<b>new</b>", body="b", actor=bob),
        lambda: notify(to=alice, kind="k", title="second"),
        lambda: notify(to=alice, kind="k", title="third"),
        lambda: inbox.mark(alice, newest(0), True),
        lambda: inbox.mark(alice, newest(0), False),
        lambda: inbox.mark_all(alice, newest(1)),
        lambda: inbox.remove([(alice.pk, newest(0))]),
        lambda: announce("first"),
        lambda: announce("second", team=team),
        lambda: announcements.edit(written[0], body="changed"),
        lambda: announcements.edit(written[0], team=team),
        lambda: announcements.edit(written[1], team=None, level="error"),
        lambda: announcements.delete(written[0]),
        lambda: jobs.claim(job.pk, 1, 60),
        lambda: jobs.finish(job.pk, 1, State.FAILED, error="ValueError: no"),
        lambda: jobs.retry(job.pk),
        lambda: jobs.claim(job.pk, 2, 60),
        lambda: jobs.finish(job.pk, 2, State.LOST),
        lambda: jobs.retry(job.pk),
        lambda: jobs.cancel(job.pk, alice),
        lambda: jobs.retry(job.pk),
        lambda: jobs.claim(job.pk, 4, 60),
        lambda: jobs.finish(job.pk, 4, State.SUCCEEDED, summary="done"),
        lambda: of_dashboard.job(bob, "Of bob", State.QUEUED),
        lambda: of_dashboard.job(None, "Nobody's", State.FAILED),
        lambda: watchdog._note_outage(True),
        lambda: watchdog._note_outage(False),
        lambda: post(alice, f"hello @{bob.username}"),
        lambda: post(bob, "hello"),
        lambda: post(alice, "again"),
        lambda: messages.edit(alice, room.pk, said[0].pk, "hello nobody"),
        lambda: marks.read_messages(bob, room.pk, said[0].pk),
        lambda: messages.delete(bob, room.pk, said[1].pk),
        lambda: marks.read_messages(bob, room.pk, 2**60),
        lambda: rooms.involve(room, bob, "everything"),
        lambda: rooms.edit(room, alice, name="Late", topic_line="What for"),
        lambda: rooms.remove(room, bob, by=bob),
        lambda: rooms.join(room, bob),
        lambda: rooms.create(bob, "open", "Another room"),
        lambda: save("first"),
        lambda: save("second"),
        lambda: Order.objects.filter(pk=orders[0].pk).update(state="late"),
        lambda: Order.objects.bulk_create(Order(name=str(uuid.uuid4())) for _ in range(3)),
        lambda: orders[1].delete(),
        lambda: publish_many((SALES, "orders.tick", {"n": n}) for n in range(5)),
        lambda: rooms.delete(room),
    ]


def scene() -> tuple[User, User, Job, Room, Group]:
    """alice owns the job and the open room, bob is a member, both are in the team; no jobs but hers."""
    Job.objects.all().delete()
    Outage.objects.all().delete()
    alice, bob = newcomer("alice"), newcomer("bob")
    team = Group.objects.create(name=str(uuid.uuid4()))
    team.user_set.add(alice, bob)
    for user in (alice, bob):
        of_dashboard.at_noon(user)
    job = jobs.create(kind="tests.shop.tasks.stocktake", title="Stocktake", owner=alice)
    return alice, bob, job, rooms.create(alice, "open", "Night", members=[bob]), team


@pytest.fixture
def orders_are_watched() -> Iterator[None]:
    watch(Order, topic=SALES, fields=FIELDS)
    yield
    unwatch(Order)


@pytest.mark.experiment("E12")
@pytest.mark.usefixtures("orders_are_watched")
async def test_a_snapshot_and_the_events_after_it_are_a_fresh_snapshot(
    hub_server: LiveServer, report: Report
):
    alice, bob, job, room, team = await in_database(scene)
    wanted = [topics.room(room.pk), topics.job(job.pk)]
    compared = 0
    differing: list[str] = []
    seen: set[str] = set()
    async with (
        somebody(hub_server, alice, *wanted) as one,
        somebody(hub_server, bob, wanted[0]) as other,
    ):
        views = [view for each in (one, other) for view in views_of(each, job, room, team)]
        begun = before = [await view.snapshot() for view in views]
        for number, act in enumerate(acts_of(alice, bob, job, room, team)):
            await in_database(act)
            for person in (one, other):
                await person.level()
            after = [await view.snapshot() for view in views]
            for view, fresh, *states in zip(views, after, before, begun, strict=True):
                for state in states:
                    made = await in_database(view.after, state)
                    compared += 1
                    if made != (wanted_now := await in_database(view.shown, fresh)):
                        differing.append(
                            f"{type(view).__name__} after act {number}: {made} {wanted_now}"
                        )
            before = after
        seen = {event["type"] for person in (one, other) for event in person.client.applied}
    report(n=compared, worst=f"{len(differing)} of {len(seen)} event types' snapshots differ")
    assert differing[:3] == []
    assert seen >= documented() | {
        f"shop.order.{what}" for what in ("created", "updated", "deleted")
    }


def documented() -> set[str]:
    """Every type of logged event in the table of the protocol's page."""
    page = Path(hub_settings.BASE_DIR, "docs/protocol.md").read_text(encoding="utf-8")
    table = page.split("## Event types")[1].split("\n## ")[0]
    rows = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    return {
        name
        for types, where in rows
        if "whispered" not in where
        for name in re.findall(r"`([a-z_]+\.[a-z_]+)`", types)
    }
