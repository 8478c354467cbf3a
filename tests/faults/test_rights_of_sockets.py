"""E103 by socket and stream: every command and address answers by the rights, and what is somebody else's like nothing."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import httpx
import pytest
import websockets
from websockets.frames import Close as Frame

from accounts.authenticate import make_key
from consumers import commands, protocol, routing
from consumers.database import in_database
from events import epoch as epochs
from tests.faults.conftest import Report
from tests.faults.test_rights import (
    DONE,
    JOB,
    KEYS,
    OWN,
    ROOM,
    TEAM,
    Rule,
    World,
    long_numbers,
    world,
)
from tests.live import LiveServer, cookies_of, newcomer

SOCKET_ROLES: Final = ("alice", "announcer", "admin", "read key", "chat key")
READ_TOPIC: Final[Mapping[str, Rule]] = {
    "user topic": OWN,
    "team topic": TEAM,
    "room": ROOM,
    "job": JOB,
}
COMMANDS: Final[dict[str, tuple[str, str]]] = {
    # op: what its topic may be, the scope it needs
    "subscribe": ("any", "read"),
    "unsubscribe": ("any", ""),
    "ping": ("", ""),
    "visible": ("", ""),
    "post": ("room", "chat"),
    "typing": ("room", "chat"),
    "read": ("room", "chat"),
}
ADDRESSES: Final = {
    "ws/": "", "ws/me/": "", "ws/echo/": "", "": "nowhere",
    "ws/groups/<str:name>/": "group", "ws/rooms/<str:room_id>/": "room", "ws/jobs/<str:job_id>/": "job",
}  # fmt: skip
DOORS: Final = {"events/poll", "events/long-poll", "events/stream", ""}


@dataclass
class Live:
    world: World
    url: str
    headers: dict[str, dict[str, str]]

    @property
    def topics(self) -> Iterator[tuple[str, str, str]]:
        """Kind, instance and name of every topic there is to ask for."""
        for kind in READ_TOPIC:
            for which, value in self.world.things[kind].items():
                yield kind, which, {"room": "room.", "job": "job."}.get(kind, "") + value

    def connect(self, who: str, path: str) -> Any:
        address = f"ws{self.url.removeprefix('http')}/{path}"
        return websockets.connect(
            address, additional_headers=self.headers[who], ping_interval=None, max_size=None
        )

    def may(self, who: str, kind: str, which: str) -> bool:
        owner = KEYS[who][0] if who in KEYS else who
        return READ_TOPIC[kind](owner, which) == DONE


@pytest.fixture
def live(hub_server: LiveServer, live_db: None) -> Live:
    long_numbers()
    built = world(newcomer)
    headers: dict[str, dict[str, str]] = {}
    for who in SOCKET_ROLES:
        if who in KEYS:
            owner, scopes = KEYS[who]
            if who == "chat key":
                scopes = ["chat", "read"]
            if who == "read key":
                scopes = ["read"]
            secret = make_key(built.people[owner], who, scopes)[1]
            headers[who] = {"Authorization": f"Bearer {secret}"}
        else:
            cookies = cookies_of(built.people[who])
            text = "; ".join(f"{name}={value}" for name, value in cookies.items())
            headers[who] = {"Cookie": text, "Origin": hub_server.url}
    return Live(built, hub_server.url, headers)


async def answer_to(socket: Any, frame: dict[str, Any]) -> str:
    """The reply's text; "" when none comes before that to a ping behind it."""
    await socket.send(json.dumps({**frame, "ref": "asked"}))
    await socket.send(json.dumps({"op": "ping", "ref": "behind"}))
    said = ""
    async with asyncio.timeout(10):
        while True:
            text: str = await socket.recv()
            for one in [found] if isinstance(found := json.loads(text), dict) else found:
                if one.get("ref") == "behind":
                    return said
                if one.get("ref") == "asked":
                    said = json.dumps(one)


def command(op: str, topic: str) -> dict[str, Any]:
    fields = {
        "topic": topic,
        "client_id": str(uuid.uuid4()),
        "body": "hello",
        "offset": 0,
        "value": True,
    }
    return {"op": op, **{name: fields[name] for name in protocol.FROM_CLIENT[op]}}


@pytest.mark.experiment("E103", quick=True)
async def test_every_command_answers_by_the_table(live: Live, report: Report) -> None:
    assert set(COMMANDS) == set(protocol.FROM_CLIENT) == set(commands._HANDLERS)
    wrong, asked = [], 0
    for who in SOCKET_ROLES:
        scopes = {"read key": {"read"}, "chat key": {"read", "chat"}}.get(who, {"read", "chat"})
        for op, (about, scope) in COMMANDS.items():
            refusals = set()
            async with live.connect(who, "ws/") as socket:
                for kind, which, topic in live.topics if about else [("", "", "")]:
                    said = await answer_to(socket, command(op, topic))
                    asked += 1
                    ok = said == "" or json.loads(said)["ok"]
                    may = not about or op == "unsubscribe" or live.may(who, kind, which)
                    if about == "room" and kind != "room":
                        may = False
                    if ok != (may and (not scope or scope in scopes)):
                        wrong.append(f"{op} {topic} by {who} ({which}): {said or 'done'}")
                    if not ok and not may:
                        refusals.add(said.replace(topic, "TOPIC"))
            if len(refusals) > 1:
                wrong.append(f"{op} by {who}: {refusals}")
    report(n=asked, worst=f"{len(wrong)} answers that the table does not have")
    assert not wrong, "\n".join(wrong)


@pytest.mark.experiment("E103", quick=True)
async def test_every_address_of_a_socket_answers_by_the_table(live: Live, report: Report) -> None:
    assert addresses(routing.sockets) == set(ADDRESSES)
    wrong, asked = [], 0
    places = [("rooms", "room"), ("jobs", "job")]
    for who in SOCKET_ROLES:
        for place, kind in places:
            for which, value in live.world.things[kind].items():
                async with live.connect(who, f"ws/{place}/{value}/") as socket:
                    asked += 1
                    try:
                        async with asyncio.timeout(10):
                            said = json.loads(await socket.recv())["op"]
                    except websockets.ConnectionClosed as ended:
                        said = str(ended.rcvd)
                if said != ("welcome" if live.may(who, kind, which) else CLOSED):
                    wrong.append(f"/ws/{place}/{value}/ by {who} ({which}): {said}")
        for path in ("ws/groups/nosuch/", "ws/nowhere/", "ws/rooms/x/", "ws/jobs/x/"):
            async with live.connect(who, path) as socket:
                asked += 1
                async with asyncio.timeout(10):
                    with pytest.raises(websockets.ConnectionClosed) as closed:
                        await socket.recv()
                if str(closed.value.rcvd) != CLOSED:
                    wrong.append(f"/{path} by {who}: {closed.value.rcvd}")
    report(n=asked, worst=f"{len(wrong)} answers that the table does not have")
    assert not wrong, "\n".join(wrong)


CLOSED: Final = str(Frame(protocol.Close.FORBIDDEN, ""))


def addresses(router: Any) -> set[str]:
    return {str(route.pattern) for route in router.routes}


@pytest.mark.experiment("E103", quick=True)
async def test_every_stream_of_events_answers_by_the_table(live: Live, report: Report) -> None:
    assert addresses(routing.events) == DOORS
    wrong, asked = [], 0
    epoch = (await in_database(epochs.current)) + "~"
    for who in SOCKET_ROLES:
        async with httpx.AsyncClient(headers=live.headers[who]) as http:
            for kind, which, topic in live.topics:
                for door in ("poll", "long-poll"):
                    query = {"topics": topic, "cursor": f"{epoch}{topic}:0", "wait": "0"}
                    answer = (await http.get(f"{live.url}/events/{door}", params=query)).json()
                    asked += 1
                    wanted = [] if live.may(who, kind, which) else [topic]
                    if answer["revoked"] != wanted or (wanted and answer["events"]):
                        wrong.append(f"{door} {topic} by {who} ({which}): {answer}")
                got = await first_block(http, live.url, topic)
                asked += 1
                if ("revoked" in got) == live.may(who, kind, which):
                    wrong.append(f"stream {topic} by {who} ({which}): {got}")
    report(n=asked, worst=f"{len(wrong)} answers that the table does not have")
    assert not wrong, "\n".join(wrong)


async def first_block(http: httpx.AsyncClient, url: str, topic: str) -> str:
    """What a stream says before its first cursor."""
    said = ""
    async with http.stream("GET", f"{url}/events/stream", params={"topics": topic}) as response:
        async for line in response.aiter_lines():
            if line.startswith("id:"):
                return said
            said += line
    return said
