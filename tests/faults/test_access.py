"""E100, E101: a right that ends, and a session that ends, end what they gave within seconds, whatever is on its way."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import socket
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, Final

import httpx
import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.utils import timezone
from websockets.asyncio.client import connect
from websockets.typing import Origin

from accounts.authenticate import make_key
from accounts.models import SignIn
from chat import rooms
from consumers.database import in_database
from events import log, topics
from tasks import external
from tests.faults.checker import GRACE, Verdict, check
from tests.faults.conftest import Report
from tests.faults.load import EVERYBODY
from tests.faults.recorder import Line, Recorder
from tests.faults.rig import Rig, rig
from tests.live import collected_static, newcomer, session_of
from tests.people import PASSWORD
from tests.reference_client import ReferenceClient, Transport, parse_cursor

SEED: Final = 20260100
WITHOUT_REDIS: Final = 30.0
TRANSPORTS: Final[tuple[Transport, ...]] = ("websocket", "sse", "long-poll", "poll")
ENDS: Final = ("flag", "room", "team", "active", "key", "session")
LOSSES: Final = [(how, silently) for silently in (False, True) for how in ENDS]
FOCUSED: Final = frozenset({"room", "job"})
"""Doors at the address of one subject alone."""
SIGNED_OUT: Final = frozenset({"active", "key", "session"})
RATE: Final = 5.0  # events a second on each topic

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(1200)]


@dataclass
class Place:
    """What there is to lose: a closed room, a team, and a job of somebody else's."""

    owner: User
    team: Group
    room: str
    job: str

    @property
    def topics(self) -> list[str]:
        return [self.room, topics.team(self.team.pk), self.job, EVERYBODY]


@dataclass
class Person:
    """Somebody on all four transports, who is about to lose one thing."""

    name: str
    how: str
    silently: bool
    user: User
    session: str
    key: str | None
    lost: list[str]
    kept: list[str]
    asked: list[str]
    """Topics that no transport implies; the job is for superusers alone."""
    clients: dict[str, ReferenceClient] = field(default_factory=dict)
    first: dict[str, dict[str, int]] = field(default_factory=dict)

    def has_heard(self, door: str) -> bool:
        """Whether this door has said what is lost, or ended. One that asks anew each time leaves out what it was
        never asked for."""
        client = self.clients[door]
        if self.how in SIGNED_OUT or door in FOCUSED:
            return client.state in {"signed-out", "stopped"}
        told = self.lost if door in {"websocket", "sse"} else set(self.lost) & set(self.asked)
        return set(client.revoked) >= set(told)

    @property
    def loss(self) -> dict[str, Any]:
        return {
            "who": self.name,
            "how": self.how,
            "silently": self.silently,
            "user": self.user.pk,
            "session": self.session,
        }


def furnish() -> Place:
    owner = newcomer("owner")
    team = Group.objects.create(name=f"team of {owner.username}")
    room = rooms.create(owner, "closed", "Den")
    job = external.start(owner, "Backup", lease=3600)
    return Place(owner, team, topics.room(room.pk), topics.job(str(job.pk)))


def people_of(place: Place, n: int) -> list[Person]:
    return [
        _settle(place, f"{how}{'-silently' if silently else ''}-{number}", how, silently)
        for number, (how, silently) in zip(range(n), itertools.cycle(LOSSES), strict=False)
    ]


def _settle(place: Place, name: str, how: str, silently: bool) -> Person:
    user = newcomer("reader", is_superuser=how == "flag")
    room = rooms.readable_by(place.owner).get(pk=int(place.room.partition(".")[2]))
    rooms.invite(room, [user], by=place.owner)
    team = topics.team(place.team.pk)
    if how != "flag":
        user.groups.add(place.team)
    own = [topics.user(user.pk), EVERYBODY]
    asked = [place.room, team, place.job] if how == "flag" else [place.room, place.job]
    lost = {"flag": [team, place.job], "room": [place.room], "team": [team]}.get(
        how, [*own, place.room, team]
    )
    kept = [name for name in (*own, place.room, team) if name not in lost]
    key = make_key(user, "test")[1] if how == "key" else None
    return Person(name, how, silently, user, session_of(user), key, lost, kept, asked)


class Crowd:
    """People on all four transports and, where the loss concerns one, on the address of that room or job alone."""

    def __init__(self, hub: Rig, recorder: Recorder, place: Place, people: list[Person]) -> None:
        self.hub, self.place, self.people = hub, place, people
        self._recorder = recorder
        self._tasks: list[asyncio.Task[None]] = []

    async def come(self) -> None:
        for person in self.people:
            for transport in TRANSPORTS:
                self._open(person, transport, transport)
            if person.how == "flag":
                self._open(person, "job", "websocket", path=f"/ws/jobs/{self.place.job[4:]}/")
            if person.how == "room":
                self._open(person, "room", "websocket", path=f"/ws/rooms/{self.place.room[5:]}/")
        async with asyncio.timeout(60):
            while not all(person.first[door] for person in self.people for door in person.clients):
                await asyncio.sleep(0.05)

    async def come_again(self, person: Person, cursors: Mapping[Transport, str]) -> None:
        """With the place each transport was at while the right was there, asking for all the same topics."""
        for transport in TRANSPORTS:
            self._open(person, f"again-{transport}", transport, cursor=cursors[transport])

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _open(
        self,
        person: Person,
        door: str,
        transport: Transport,
        *,
        path: str = "/ws/",
        cursor: str | None = None,
    ) -> None:
        first = person.first[door] = (
            dict(found.offsets) if (found := parse_cursor(cursor)) is not None else {}
        )
        who = f"{door}-{person.name}"
        cookies = None if person.key else {settings.SESSION_COOKIE_NAME: person.session}
        client = ReferenceClient(
            self.hub.url,
            transport=transport,
            cookies=cookies,
            key=person.key,
            cursor=cursor,
            path=path,
            topics=person.asked if path == "/ws/" else (),
            poll_every=1.0,
            on_frame=partial(self._frame, who, first),
            on_event=partial(self._event, who),
            on_reset=partial(self._reset, who),
            on_state=partial(self._state, who),
        )
        person.clients[door] = client
        self._tasks.append(asyncio.create_task(client.run()))

    def _frame(self, who: str, first: dict[str, int], frame: dict[str, Any]) -> None:
        match frame["op"]:
            case "welcome":
                first.update({t: o for t, o in frame["offsets"].items() if t not in first})
            case "heartbeat" if not first:
                cursor = parse_cursor(frame["cursor"])
                first.update(cursor.offsets if cursor else {})
            case "event":
                self._recorder.write("wire", who, topic=frame["topic"], offset=frame["offset"])
            case "revoked":
                self._recorder.write("revoked", who, topic=frame["topic"])

    def _event(self, who: str, event: dict[str, Any]) -> None:
        mark = event["data"].get("mark")
        place = {"topic": event["topic"], "offset": event["offset"]}
        self._recorder.write("applied", who, **place, mark=mark)

    def _reset(self, who: str, reset: dict[str, Any]) -> None:
        self._recorder.write("reset", who, **{k: reset[k] for k in ("topic", "offset", "reason")})

    def _state(self, who: str, state: str) -> None:
        if state == "connecting":
            self._recorder.write("connected", who)
        elif state in {"signed-out", "stopped"}:
            self._recorder.write("closed", who)


@dataclass
class Outcome:
    verdict: Verdict
    people: int
    untold: list[str]
    late: float
    """Seconds from a revoking commit to the last thing that still came of what it took."""
    after: int
    """Events that came after their topic had been said to be lost, or to whoever came again."""
    deaf: list[str]
    """Who heard nothing more of what they kept, once Redis was gone."""

    @property
    def kept_out(self) -> bool:
        return not (self.verdict.foreign or self.untold or self.after)

    def __str__(self) -> str:
        return (
            f"last event {self.late:.2f} s after the commit, {self.verdict.foreign} foreign, {self.after} after the"
            f" end, {len(self.untold)} never told, {len(self.verdict.lost)} lost of what was kept, {len(self.deaf)} deaf"
        )


async def revoked(
    recorder: Recorder,
    n: int,
    *,
    grace: float,
    in_full: bool,
    planted: str = "",
    redis: bool = True,
) -> Outcome:
    """Everybody reads what they may, and loses something while it is being written to; then they come again with the
    cursor of before."""
    place = await in_database(furnish)
    deaf: list[str] = []
    with rig(planted=planted) as hub:
        people = await in_database(people_of, place, n)
        room = int(place.room.partition(".")[2])
        losses = [{**one.loss, "room": room, "team": place.team.pk} for one in people]
        crowd = Crowd(hub, recorder, place, people)
        try:
            await crowd.come()
            rate = RATE * len(place.topics)
            with hub.writing("stream", topics=place.topics, n=100_000, rate=rate):
                await asyncio.sleep(1)
                cursors = {
                    one.name: {t: one.clients[t].cursor or "" for t in TRANSPORTS} for one in people
                }
                if not redis:
                    hub.redis.kill()
                    heads = await in_database(log.heads, place.topics)
                spread = n * 0.1
                work = partial(hub.write, "revoke", losses=losses, spread=spread, seed=SEED)
                taken = {line["marks"][0]: line["t"] for line in await asyncio.to_thread(work)}
                await _all_told(crowd, grace)
                for person in people:
                    await crowd.come_again(person, cursors[person.name])
                await asyncio.sleep(grace + 2 if in_full else 2.5)
                if not redis:
                    deaf = await _deaf(people, heads)
            if redis:
                await _level(people)
        finally:
            await crowd.leave()
        return await in_database(_outcome, recorder, people, taken, grace, deaf, level=redis)


async def _all_told(crowd: Crowd, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if all(one.has_heard(door) for one in crowd.people for door in one.clients):
            return
        await asyncio.sleep(0.05)


async def _level(people: Iterable[Person]) -> None:
    """What stays is read to its end."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        heads = await in_database(log.heads, {t for one in people for t in one.kept})
        positions = [
            (parsed.offsets if (parsed := parse_cursor(one.clients[door].cursor)) else {}, one.kept)
            for one in people
            if one.how not in SIGNED_OUT
            for door in one.clients
            if door not in FOCUSED
        ]
        if all(has.get(t, 0) >= heads.get(t, 0) for has, kept in positions for t in kept):
            return
        await asyncio.sleep(0.2)


async def _deaf(people: Iterable[Person], heads: Mapping[str, int]) -> list[str]:
    """Who has not heard, of each topic that is kept and written to, what came after these heads."""
    deadline = time.monotonic() + 20
    while True:
        found = [
            f"{door}-{one.name}: {topic}"
            for one in people
            for door, client in one.clients.items()
            if door not in FOCUSED
            for topic in heads.keys() & one.kept
            if max(client.offsets(topic), default=0) <= heads[topic]
        ]
        if not found or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.2)


def _outcome(
    recorder: Recorder,
    people: list[Person],
    taken: dict[str, float],
    grace: float,
    deaf: list[str],
    *,
    level: bool,
) -> Outcome:
    """`level`: whether what was kept must have come in full."""
    owed: dict[str, dict[str, int]] = {}
    until: dict[tuple[str, str], float] = {}
    for person in people:
        for door in person.clients:
            who = f"{door}-{person.name}"
            # What it was welcomed to besides is foreign: nobody gave it to them.
            owed[who] = {t: person.first[door].get(t, 0) for t in (*person.lost, *person.kept)}
            for topic in owed[who]:
                if topic in person.lost:
                    until[who, topic] = taken[person.name]
                elif not level or door in FOCUSED:
                    until[who, topic] = math.inf  # may be read, and need not be
    verdict = check(recorder, owed, until=until, grace=grace)
    late, after = _after(recorder.lines(), until)
    untold = [
        f"{door}-{person.name}"
        for person in people
        for door in person.clients
        if not person.has_heard(door)
    ]
    return Outcome(verdict, len(people), untold, late, after, deaf)


def _after(lines: Iterable[Line], until: dict[tuple[str, str], float]) -> tuple[float, int]:
    gone: dict[str, set[str]] = defaultdict(set)
    late, after = 0.0, 0
    for line in lines:
        who, topic = line["who"], line.get("topic", "")
        if line["what"] == "revoked":
            gone[who].add(topic)
        elif line["what"] == "wire" and (ended := until.get((who, topic), math.inf)) < line["t"]:
            late = max(late, line["t"] - ended)
            after += topic in gone[who] or who.startswith("again-")
    return late, after


@pytest.mark.experiment("E100")
async def test_what_is_lost_is_taken_away_on_every_transport(
    recorder: Recorder, counted: Callable[..., int], in_full: bool, report: Report
):
    outcome = await revoked(recorder, counted(100, least=12), grace=GRACE, in_full=in_full)
    report(n=outcome.people, worst=str(outcome), seed=SEED)
    assert outcome.kept_out, (outcome, outcome.untold[:5])
    assert outcome.verdict.clean, outcome.verdict


@pytest.mark.experiment("E100")
async def test_what_is_lost_is_taken_away_while_redis_is_gone(
    recorder: Recorder, counted: Callable[..., int], in_full: bool, report: Report
):
    people = counted(100, least=12)
    outcome = await revoked(recorder, people, grace=WITHOUT_REDIS, in_full=in_full, redis=False)
    report(n=outcome.people, worst=str(outcome), seed=SEED)
    assert outcome.kept_out, (outcome, outcome.untold[:5])
    assert not outcome.deaf, outcome.deaf[:5]


@pytest.mark.experiment("E100")
@pytest.mark.parametrize("planted", ["authorised_at_subscribe", "resume_without_authorisation"])
async def test_a_hub_that_lets_people_keep_what_they_had_is_noticed(
    planted: str, recorder: Recorder, report: Report
):
    outcome = await revoked(recorder, 12, grace=GRACE, in_full=False, planted=planted)
    report(control=planted, caught=not outcome.kept_out, worst=str(outcome))
    assert not outcome.kept_out, "the experiment can't tell who is let in too far"


# --- what waits for somebody who does not read ---------------------------------------------------------------------

QUEUED: Final = 600
LONG_MARK: Final = "x" * 8000
SMALL_BUFFER: Final = 4096


def slow_socket(url: str) -> socket.socket:
    host, _, port = url.removeprefix("http://").partition(":")
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
    made.connect((host, int(port)))
    made.setblocking(False)
    return made


async def by_socket(url: str, cookie: str, room: str) -> AsyncIterator[dict[str, Any]]:
    """Its frames, none of them read before it is asked for."""
    async with connect(
        f"ws{url.removeprefix('http')}/ws/?topics={room}",
        sock=slow_socket(url),
        origin=Origin(url),
        additional_headers={"Cookie": cookie},
        compression=None,
        max_queue=1,
        ping_interval=None,
    ) as opened:
        async for text in opened:
            parsed = json.loads(text)
            for frame in parsed if isinstance(parsed, list) else [parsed]:
                yield frame


async def by_stream(url: str, cookie: str, room: str) -> AsyncIterator[dict[str, Any]]:
    reader, writer = await asyncio.open_connection(sock=slow_socket(url), limit=4 * SMALL_BUFFER)
    ask = f"GET /events/stream?topics={room} HTTP/1.1\r\nHost: {url.removeprefix('http://')}\r\n"
    writer.write(f"{ask}Cookie: {cookie}\r\n\r\n".encode())
    kind = ""
    try:
        while line := await reader.readline():
            name, _, value = line.decode().rstrip().partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                yield {**json.loads(value), "op": kind}
            elif name == "id" and not kind:
                yield {"op": "welcome"}
    finally:
        writer.transport.abort()


async def read_late(planted: str = "") -> list[list[str]]:
    """Two who do not read while much is said in a room and they are taken out of it, and read then: what each gets
    of the room."""
    place = await in_database(furnish)
    people = await in_database(people_of, place, 2)
    room = int(place.room.partition(".")[2])
    losses = [{**one.loss, "how": "room", "room": room} for one in people]
    with rig(planted=planted) as hub:
        doors = [
            door(hub.url, f"{settings.SESSION_COOKIE_NAME}={one.session}", place.room)
            for door, one in zip((by_socket, by_stream), people, strict=True)
        ]
        for door in doors:
            while (await anext(door))["op"] != "welcome":
                pass
        stream = partial(hub.write, "stream", topics=[place.room], n=QUEUED, rate=0, mark=LONG_MARK)
        await asyncio.to_thread(stream)
        await asyncio.to_thread(partial(hub.write, "revoke", losses=losses, spread=0, seed=SEED))
        await asyncio.sleep(GRACE)
        return [await _what_comes(door, place.room) for door in doors]


async def _what_comes(door: AsyncIterator[dict[str, Any]], topic: str) -> list[str]:
    found: list[str] = []
    with contextlib.suppress(TimeoutError):
        while True:
            async with asyncio.timeout(2):
                frame = await anext(door)
            if frame.get("topic") == topic and frame["op"] in {"event", "revoked"}:
                found.append(frame["op"])
    return found


@pytest.mark.experiment("E100")
async def test_what_waits_for_who_does_not_read_is_dropped_with_the_right(report: Report):
    got = await read_late()
    sent = [ops.count("event") for ops in got]
    report(n=QUEUED, worst=f"{max(sent)} of {QUEUED} were under way already, then nothing")
    for ops in got:
        assert ops.count("revoked") == 1, ops[-3:]
        assert ops[-1] == "revoked"
    assert max(sent) < QUEUED * 0.75


@pytest.mark.experiment("E100")
async def test_a_hub_that_hands_out_what_waited_is_noticed(report: Report):
    got = await read_late(planted="authorised_at_subscribe")
    sent = min(ops.count("event") for ops in got)
    caught = sent >= QUEUED
    report(
        control="authorised_at_subscribe", caught=caught, worst=f"at least {sent} of {QUEUED} came"
    )
    assert caught, "the experiment can't tell a hub that hands out what waited"


# --- E101 -----------------------------------------------------------------------------------------------------------

SESSION_DOORS: Final[list[tuple[Transport, str]]] = [
    *((transport, "/ws/") for transport in TRANSPORTS),
    ("websocket", "/ws/me/"),
    ("websocket", "/ws/groups/dashboard/"),
]


@dataclass
class Tabs:
    """One person with two sessions: everything of the first is to end, the second goes on."""

    user: User
    first: str
    second: str
    ended: list[float] = field(default_factory=list)
    clients: list[ReferenceClient] = field(default_factory=list)
    bystander: ReferenceClient | None = None


def tabs() -> Tabs:
    user = newcomer("tabs")
    return Tabs(user, session_of(user), session_of(user))


async def submit(hub: Rig, session: str, path: str, **form: str) -> None:
    """A form of a page, sent by the browser whose session it is."""
    cookies = {settings.SESSION_COOKIE_NAME: session}
    async with httpx.AsyncClient(base_url=hub.url, cookies=cookies, timeout=30) as browser:
        await browser.get("/settings/")
        token = browser.cookies[settings.CSRF_COOKIE_NAME]
        headers = {"Origin": hub.url}
        answer = await browser.post(
            path, data={**form, "csrfmiddlewaretoken": token}, headers=headers
        )
    assert answer.status_code == 302, (path, answer.status_code)


async def log_out(hub: Rig, one: Tabs) -> None:
    await submit(hub, one.first, "/accounts/logout/")


async def change_password(hub: Rig, one: Tabs) -> None:
    new = "another-horse-battery"
    path = "/accounts/password/change/"
    await submit(hub, one.second, path, old_password=PASSWORD, new_password1=new, new_password2=new)


async def end_from_settings(hub: Rig, one: Tabs) -> None:
    row = await in_database(SignIn.objects.get, session_key=one.first)
    await submit(hub, one.second, f"/settings/sessions/{row.pk}/end/")


async def expire(hub: Rig, one: Tabs) -> None:
    def shorten() -> None:
        soon = timezone.now() + timedelta(seconds=1)
        Session.objects.filter(pk=one.first).update(expire_date=soon)

    await in_database(shorten)
    await asyncio.sleep(1)


SESSION_ENDS: Final = (log_out, change_password, end_from_settings, expire)


def come(hub: Rig, one: Tabs) -> Iterable[asyncio.Task[None]]:
    def client(session: str, transport: Transport, path: str) -> ReferenceClient:
        return ReferenceClient(
            hub.url,
            transport=transport,
            cookies={settings.SESSION_COOKIE_NAME: session},
            path=path,
            poll_every=1.0,
            on_state=note,
        )

    def note(state: str) -> None:
        if state == "signed-out":
            one.ended.append(time.monotonic())

    one.clients = [client(one.first, *door) for door in SESSION_DOORS]
    one.bystander = client(one.second, "websocket", "/ws/")
    return [asyncio.create_task(each.run()) for each in [*one.clients, one.bystander]]


@pytest.mark.experiment("E101")
async def test_the_end_of_a_session_ends_all_that_it_opened(
    counted: Callable[..., int], report: Report
):
    each = counted(25, least=2)
    slowest: dict[str, float] = {}
    collected_static()  # pages name their files by their hashes
    with rig() as hub:
        for end in SESSION_ENDS:
            people = [await in_database(tabs) for _ in range(each)]
            tasks = [task for one in people for task in come(hub, one)]
            try:
                async with asyncio.timeout(30):
                    while any(client.state != "live" for one in people for client in one.clients):
                        await asyncio.sleep(0.05)
                times = []
                for one in people:
                    await end(hub, one)
                    times.append(time.monotonic())
                async with asyncio.timeout(GRACE):
                    while any(len(one.ended) < len(SESSION_DOORS) for one in people):
                        await asyncio.sleep(0.05)
                slowest[end.__name__] = max(
                    max(one.ended) - at for one, at in zip(people, times, strict=True)
                )
                others = {one.bystander.state for one in people if one.bystander}
                assert end is change_password or others == {"live"}, others
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
    worst = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in slowest.items())
    report(n=each * len(SESSION_ENDS) * len(SESSION_DOORS), worst=worst)
    assert max(slowest.values()) <= GRACE
