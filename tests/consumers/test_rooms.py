"""Who hears what of a room, who is in it, and posting by socket, from a real server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import httpx
import pytest
import websockets
from django.contrib.auth.models import User
from websockets.asyncio.client import ClientConnection

import events
from accounts import throttle
from accounts.authenticate import make_key
from chat import messages, rooms
from chat.models import Message, Room
from consumers.database import in_database
from events import epoch as epochs
from events import log, topics
from tests.consumers.test_websocket import close_code, connect, hear, someone
from tests.contracts.clients import TRANSPORTS, Heard, first_cursor, listening
from tests.live import LiveServer, cookies_of, newcomer

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(90)]
every_transport = pytest.mark.parametrize("transport", TRANSPORTS)


async def closed_room(owner: User, *members: User, kind: str = "closed") -> Room:
    return await in_database(rooms.create, owner, kind, "Night shift", members=members)


async def said(room: Room, author: User, body: str = "hello") -> Message:
    return (await in_database(messages.post, author, room.pk, uuid.uuid4(), body))[0]


async def in_browser(server: LiveServer, name: str = "alice") -> tuple[User, dict[str, str]]:
    """Somebody signed in as a page is: whose connections count as being there."""
    user = await in_database(newcomer, name)
    return user, await session(server, user)


async def session(server: LiveServer, user: User) -> dict[str, str]:
    cookies = await in_database(cookies_of, user)
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    return {"Cookie": cookie, "Origin": server.url}


async def frames(socket: ClientConnection, seconds: float) -> list[dict[str, Any]]:
    """Every frame that comes within this time."""
    found: list[dict[str, Any]] = []
    try:
        async with asyncio.timeout(seconds):
            async for text in socket:
                value = json.loads(text)
                found += value if isinstance(value, list) else [value]
    except TimeoutError:
        pass
    return found


async def to_the_end(socket: ClientConnection) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    with contextlib.suppress(websockets.ConnectionClosedError):
        async for text in socket:
            value = json.loads(text)
            found += value if isinstance(value, list) else [value]
    return found


async def until(
    socket: ClientConnection, wanted: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    """What comes, up to the first frame like this."""
    found: list[dict[str, Any]] = []
    async with asyncio.timeout(25):
        async for text in socket:
            value = json.loads(text)
            for frame in value if isinstance(value, list) else [value]:
                found.append(frame)
                if wanted(frame):
                    return found
    raise AssertionError(found)


def post(room: Room, client_id: uuid.UUID | str, body: str = "hello") -> dict[str, Any]:
    return {
        "op": "post",
        "topic": topics.room(room.pk),
        "client_id": str(client_id),
        "body": body,
        "ref": "p",
    }


async def answer(socket: ClientConnection, **frame: Any) -> dict[str, Any]:
    """The reply, whatever else comes before it."""
    await socket.send(json.dumps(frame))
    return (await until(socket, lambda one: one["op"] == "reply"))[-1]


def types(heard: Heard, topic: str) -> list[str]:
    return [event["type"] for event in heard.events if event["topic"] == topic]


# --- who hears ---------------------------------------------------------------------------------------------------


@every_transport
async def test_members_hear_a_closed_room_and_others_as_of_one_that_does_not_exist(
    hub_server, transport
):
    alice, _ = await someone()
    bob, bobs = await someone("bob")
    _, charlies = await someone("charlie")
    room = await closed_room(alice, bob)
    topic, absent = topics.room(room.pk), topics.room(10**15)
    both = f"group.sales,{topic},{absent}"
    async with (
        listening(transport, hub_server, topics=topic, headers=bobs) as member,
        listening(transport, hub_server, topics=both, headers=charlies) as outsider,
    ):
        message = await said(room, alice)
        await in_database(messages.edit, alice, room.pk, message.pk, "hello all")
        await member.until(lambda heard: len(types(heard, topic)) == 2)
        assert types(member, topic) == ["message.created", "message.updated"]
        assert member.events[-1]["data"]["body"] == "hello all"
        await outsider.until(lambda heard: set(heard.revoked) == {topic, absent})
        assert types(outsider, topic) == []


@every_transport
async def test_a_cursor_that_names_a_foreign_room_opens_nothing(hub_server, transport):
    alice, _ = await someone()
    _, charlies = await someone("charlie")
    room = await closed_room(alice)
    topic = topics.room(room.pk)
    start = (await in_database(log.cursor, [topic])).replace(f"{topic}:1", f"{topic}:0")
    await said(room, alice)
    for asked in (f"group.sales,{topic}", "group.sales"):
        async with listening(
            transport, hub_server, topics=asked, cursor=start, headers=charlies
        ) as heard:
            await said(room, alice)
            await asyncio.sleep(0.4)
            assert types(heard, topic) == []
            assert heard.resets == []


async def test_closed_deleted_and_absent_rooms_close_an_outsider_alike(hub_server):
    alice, _ = await someone()
    _, charlies = await someone("charlie")
    closed, deleted = await closed_room(alice), await closed_room(alice)
    epoch = await in_database(epochs.current)
    await in_database(rooms.delete, deleted)
    for room_id in (closed.pk, deleted.pk, 10**15, "x", "01"):
        for query in ({}, {"cursor": f"{epoch}~room.{closed.pk}:0~room.{deleted.pk}:0"}):
            async with connect(hub_server, f"/ws/rooms/{room_id}/", charlies, **query) as socket:
                heard = await to_the_end(socket)
            assert (heard, socket.close_code) == ([], 4403)


@every_transport
async def test_who_was_removed_hears_nothing_more(hub_server, transport):
    alice, _ = await someone()
    bob, bobs = await someone("bob")
    room = await closed_room(alice, bob)
    topic = topics.room(room.pk)
    both = f"group.sales,{topic}"
    async with listening(transport, hub_server, topics=both, headers=bobs) as heard:
        await in_database(rooms.remove, room, bob, alice)
        async with asyncio.timeout(5):
            await heard.until(lambda heard: topic in heard.revoked)
        came = len(types(heard, topic))
        await said(room, alice, "about bob")
        await asyncio.sleep(0.4)
        assert len(types(heard, topic)) == came
        assert "message.created" not in types(heard, topic)
        assert all(one["type"] != "typing" for one in heard.whispers)


async def test_who_was_removed_is_out_of_the_rooms_own_address(hub_server):
    alice, _ = await someone()
    bob, bobs = await someone("bob")
    room = await closed_room(alice, bob)
    async with connect(hub_server, f"/ws/rooms/{room.pk}/", bobs) as socket:
        await hear(socket)
        await in_database(rooms.remove, room, bob, alice)
        async with asyncio.timeout(5):
            assert await close_code(socket) == 4403


async def test_a_room_that_is_closed_loses_at_once_whoever_is_not_in_it(hub_server):
    alice, alices = await someone()
    _, bobs = await someone("bob")
    room = await closed_room(alice, kind="open")
    topic = topics.room(room.pk)
    async with (
        connect(hub_server, "/ws/groups/sales/", alices, topics=topic) as member,
        connect(hub_server, "/ws/groups/sales/", bobs, topics=topic) as outsider,
    ):
        await hear(member)
        await hear(outsider)
        await in_database(rooms.edit, room, alice, kind="closed")
        async with asyncio.timeout(1.5):  # long before everybody is asked for anew
            await until(outsider, lambda frame: frame["op"] == "revoked")
        await said(room, alice)
        assert await until(member, lambda frame: frame.get("type") == "message.created")
        assert await frames(outsider, 0.3) == []


@every_transport
async def test_what_a_room_is_called_once_it_is_closed_is_not_told_to_outsiders(
    hub_server, transport
):
    alice, alices = await someone()
    _, bobs = await someone("bob")
    room = await closed_room(alice, kind="open")
    topic = topics.room(room.pk)
    both = f"group.sales,{topic}"
    async with (
        listening(transport, hub_server, topics=both, headers=alices) as member,
        listening(transport, hub_server, topics=both, headers=bobs) as outsider,
    ):
        await in_database(partial(rooms.edit, room, alice, kind="closed", name="Lay-offs"))
        await said(room, alice, "about the lay-offs")
        async with asyncio.timeout(5):
            await outsider.until(lambda heard: heard.revoked == [topic])
            await member.until(lambda heard: len(types(heard, topic)) == 2)
        assert types(member, topic) == ["room.updated", "message.created"]
        assert member.events[0]["data"]["name"] == "Lay-offs"
        assert types(outsider, topic) == []


# --- a deleted room ----------------------------------------------------------------------------------------------


@every_transport
async def test_a_deleted_room_says_so_and_then_is_revoked(hub_server, transport):
    alice, alices = await someone()
    _, bobs = await someone("bob")
    room = await closed_room(alice)
    topic = topics.room(room.pk)
    both = f"group.sales,{topic}"
    async with (
        listening(transport, hub_server, topics=both, headers=alices) as heard,
        listening(transport, hub_server, topics=both, headers=bobs) as outsider,
    ):
        await in_database(rooms.delete, room)
        await heard.until(lambda heard: heard.revoked == [topic])
        assert types(heard, topic) == ["room.deleted"]
        assert heard.events[-1]["data"] == {"id": room.pk}
        await asyncio.sleep(0.4)
        assert (types(heard, topic), heard.revoked) == (["room.deleted"], [topic])
        assert (types(outsider, topic), outsider.revoked) == ([], [topic])


async def test_the_address_of_a_deleted_room_closes_with_4000_behind_its_last_event(hub_server):
    alice, alices = await someone()
    room = await closed_room(alice)
    async with connect(hub_server, f"/ws/rooms/{room.pk}/", alices) as socket:
        await hear(socket)
        await in_database(rooms.delete, room)
        assert (await hear(socket))["type"] == "room.deleted"
        assert await close_code(socket) == 4000


@every_transport
async def test_who_was_away_when_the_room_was_deleted_hears_of_its_end_alone(hub_server, transport):
    alice, alices = await someone()
    room = await closed_room(alice)
    topic = topics.room(room.pk)
    start = await in_database(log.cursor, [topic])
    at = int(start.rpartition(":")[2])
    await said(room, alice, "nobody's any more")
    await in_database(rooms.delete, room)
    async with listening(
        transport, hub_server, topics=f"group.sales,{topic}", cursor=start, headers=alices
    ) as heard:
        await heard.until(lambda heard: heard.revoked == [topic])
        assert heard.resets == [{"topic": topic, "offset": at + 1, "reason": "expired"}]
        assert types(heard, topic) == ["room.deleted"]
        assert heard.offsets(topic) == [at + 2]
    async with connect(hub_server, f"/ws/rooms/{room.pk}/", alices, cursor=start) as socket:
        told = await to_the_end(socket)
        assert [one.get("type", one["op"]) for one in told] == ["reset", "room.deleted"]
        assert socket.close_code == 4000
    knows = f"{start.rpartition(':')[0]}:{at + 2}"
    async with connect(hub_server, f"/ws/rooms/{room.pk}/", alices, cursor=knows) as socket:
        assert await close_code(socket) == 4403


@every_transport
async def test_who_is_cut_off_before_the_end_of_a_room_was_said_hears_it_the_next_time(
    hub_server, transport
):
    alice, alices = await someone()
    room = await closed_room(alice)
    topic = topics.room(room.pk)
    start = await in_database(log.cursor, [topic])
    await in_database(rooms.delete, room)
    query: Any = {"topics": f"group.sales,{topic}", "cursor": start, "headers": alices}
    told, query["cursor"] = await first_cursor(transport, hub_server, **query)
    if "event" not in told:
        async with listening(transport, hub_server, **query) as heard:
            await heard.until(lambda heard: types(heard, topic) == ["room.deleted"])


# --- posting -----------------------------------------------------------------------------------------------------


async def test_a_post_is_answered_with_the_message_that_everybody_hears(hub_server):
    alice, alices = await someone()
    bob, bobs = await someone("bob")
    room = await closed_room(alice, bob)
    topic = topics.room(room.pk)
    async with (
        connect(hub_server, f"/ws/rooms/{room.pk}/", alices) as socket,
        connect(hub_server, f"/ws/rooms/{room.pk}/", bobs) as other,
    ):
        await hear(socket)
        await hear(other)
        client_id = uuid.uuid4()
        reply = await answer(socket, **post(room, client_id, "Good *morning*"))
        assert reply["ok"]
        item = reply["data"]
        assert (item["client_id"], item["body"]) == (str(client_id), "Good *morning*")
        assert item["author"]["id"] == alice.pk
        event = await hear(other)
        assert (event["type"], event["topic"], event["data"]) == ("message.created", topic, item)
        again = await answer(socket, **post(room, client_id, "something else"))
        assert again["data"] == item


async def test_a_resend_never_makes_a_second_message(hub_server):
    alice, alices = await someone()
    room = await closed_room(alice)
    client_id = uuid.uuid4()
    address = f"/ws/rooms/{room.pk}/"
    async with connect(hub_server, address, alices) as socket:
        await hear(socket)
        await socket.send(json.dumps(post(room, client_id)))  # and gone before the answer
    async with (
        connect(hub_server, address, alices) as one,
        connect(hub_server, address, alices) as two,
    ):
        await hear(one)
        await hear(two)
        replies = await asyncio.gather(
            *(answer(socket, **post(room, client_id)) for socket in (one, two))
        )
        assert replies[0]["data"] == replies[1]["data"]
        other = uuid.uuid4()
        both = await asyncio.gather(*(answer(socket, **post(room, other)) for socket in (one, two)))
        assert both[0]["data"] == both[1]["data"]
    rows = Message.objects.filter(room=room)
    assert await in_database(rows.count) == 2


async def test_posts_of_one_socket_keep_their_order(hub_server):
    alice, alices = await someone()
    room = await closed_room(alice)
    async with connect(hub_server, f"/ws/rooms/{room.pk}/", alices) as socket:
        await hear(socket)
        for n in range(20):
            await socket.send(json.dumps(post(room, uuid.uuid4(), f"number {n}")))
        heard = await until(socket, lambda one: one.get("data", {}).get("body") == "number 19")
        heard += await frames(socket, 0.5)
    created = [one["data"]["body"] for one in heard if one.get("type") == "message.created"]
    assert created == [f"number {n}" for n in range(20)]


async def test_what_cannot_be_posted_says_why_and_a_foreign_room_does_not(hub_server):
    alice, alices = await someone()
    _, charlies = await someone("charlie")
    room, archived = await closed_room(alice), await closed_room(alice)
    await in_database(rooms.edit, archived, alice, archived=True)
    async with connect(hub_server, "/ws/me/", alices) as socket:
        await hear(socket)

        async def code(**frame: Any) -> str:
            return str((await answer(socket, **frame))["error"]["code"])

        assert await code(**post(room, "x")) == "invalid"
        assert await code(**post(room, uuid.uuid4(), " ")) == "invalid"
        assert await code(**post(room, uuid.uuid4(), "x" * 5000)) == "invalid"
        assert await code(**post(archived, uuid.uuid4())) == "conflict"
        topic = topics.room(room.pk)
        for offset in (-1, 2**63):
            assert await code(op="read", topic=topic, offset=offset, ref=1) == "invalid"
    async with connect(hub_server, "/ws/me/", charlies) as socket:
        await hear(socket)
        told = [
            await answer(
                socket, op=op, topic=topic, client_id=client_id, body="x", offset=offset, ref=1
            )
            for op, client_id, offset in [
                ("post", str(uuid.uuid4()), 0),
                ("post", "x", 0),
                ("read", "", 0),
                ("read", "", -1),
                ("typing", "", 0),
            ]
            for topic in (topics.room(room.pk), topics.room(10**15), topics.DASHBOARD, "rubbish")
        ]
        assert all(reply == told[0] for reply in told)
        assert told[0]["error"]["code"] == "forbidden"


async def test_a_key_without_the_chat_scope_hears_and_changes_nothing(hub_server):
    alice, _ = await someone()
    room = await closed_room(alice)
    _, secret = await in_database(make_key, alice, "reader", ["read"])
    headers = {"Authorization": f"Bearer {secret}"}
    async with connect(hub_server, f"/ws/rooms/{room.pk}/", headers) as socket:
        await hear(socket)
        reply = await answer(socket, **post(room, uuid.uuid4()))
        assert reply["error"]["code"] == "forbidden"
        topic = topics.room(room.pk)
        assert (await answer(socket, op="typing", topic=topic))["error"]["code"] == "forbidden"
        marked = await answer(socket, op="read", topic=topic, offset=1)
        assert marked["error"]["code"] == "forbidden"


async def test_too_many_posts_are_refused_and_the_socket_lives(hub_server):
    alice, alices = await someone()
    room = await closed_room(alice)
    most = messages.POSTS_PER_MINUTE
    bucket = f"{messages.POSTS}:user:{alice.pk}"
    assert await in_database(throttle.take, bucket, most, cost=most) == 0
    async with connect(hub_server, f"/ws/rooms/{room.pk}/", alices) as socket:
        await hear(socket)
        reply = await answer(socket, **post(room, uuid.uuid4()))
        assert reply["error"]["code"] == "too_many_requests"
        assert (await answer(socket, op="ping", ref=1))["ok"]


# --- read marks, typing ------------------------------------------------------------------------------------------


async def test_read_marks_reach_the_other_tabs(hub_server):
    alice, _ = await someone()
    bob, bobs = await someone("bob")
    room = await closed_room(alice, bob)
    topic = topics.room(room.pk)
    async with (
        connect(hub_server, "/ws/", bobs, topics=topic) as one,
        connect(hub_server, "/ws/me/", bobs) as two,
    ):
        await hear(one)
        await hear(two)
        last = [await said(room, alice, f"number {n}") for n in range(3)][-1]
        head = (await in_database(log.heads, [topic]))[topic]
        reply = await answer(one, op="read", topic=topic, offset=head - 1, ref=1)
        assert (reply["data"]["unread"], reply["data"]["mentions"]) == (1, 0)
        reply = await answer(one, op="read", topic=topic, offset=head, ref=2)
        assert reply["data"] == {"unread": 0, "mentions": 0, "read_up_to": last.pk}
        marks = await until(two, lambda one: one.get("data", {}).get("unread") == 0)
        assert [(one["type"], one["data"]["unread"]) for one in marks] == [
            ("room.read", 1),
            ("room.read", 0),
        ]
        again = await answer(one, op="read", topic=topic, offset=1, ref=3)
        assert again["data"]["read_up_to"] == last.pk


async def test_typing_is_whispered_once_a_second_and_answered_only_when_refused(hub_server):
    alice, alices = await someone()
    bob, bobs = await someone("bob")
    room = await closed_room(alice, bob)
    topic = topics.room(room.pk)
    async with (
        connect(hub_server, f"/ws/rooms/{room.pk}/", alices) as socket,
        connect(hub_server, f"/ws/rooms/{room.pk}/", bobs) as other,
    ):
        await hear(socket)
        await hear(other)
        for _ in range(20):
            await socket.send(json.dumps({"op": "typing", "topic": topic, "ref": 1}))
        assert await hear(other) == {
            "op": "whisper",
            "topic": topic,
            "type": "typing",
            "data": {"id": alice.pk, "name": "Alice"},
        }
        assert await frames(other, 0.7) == []
        assert all(one["op"] != "reply" for one in await frames(socket, 0.1))
        await asyncio.sleep(0.5)
        await socket.send(json.dumps({"op": "typing", "topic": topic}))
        assert (await hear(other))["type"] == "typing"


# --- who is here -------------------------------------------------------------------------------------------------


def presence(found: list[dict[str, Any]], room: Room) -> list[tuple[str, int]]:
    """`(what, who)` of the whispers of presence in this room."""
    return [
        (one["type"].partition(".")[2], one["data"]["id"])
        for one in found
        if one["op"] == "whisper"
        and one.get("topic") == topics.room(room.pk)
        and one["type"].startswith("presence.")
    ]


def is_presence(what: str, who: User, away: bool | None = None) -> Callable[[dict[str, Any]], bool]:
    def check(one: dict[str, Any]) -> bool:
        return (
            one.get("type") == f"presence.{what}"
            and str(one["topic"]).startswith("room.")
            and one["data"]["id"] == who.pk
            and (away is None or one["data"]["away"] is away)
        )

    return check


async def people(server: LiveServer, headers: dict[str, str], room: Room) -> list[tuple[int, bool]]:
    async with httpx.AsyncClient(headers=headers) as client:
        asked = f"{server.url}/api/v1/presence?topic={topics.room(room.pk)}"
        found = (await client.get(asked)).json()["people"]
    return [(person["id"], person["away"]) for person in found]


async def test_thirty_tabs_of_one_person_make_one_join_and_one_leave(hub_server):
    alice, alices = await in_browser(hub_server)
    bob, bobs = await someone("bob")
    room = await closed_room(alice, bob)
    address = f"/ws/rooms/{room.pk}/"
    async with connect(hub_server, address, bobs) as watching:
        await hear(watching)
        async with AsyncExitStack() as stack:
            for _ in range(30):
                tab = await stack.enter_async_context(connect(hub_server, address, alices))
                await hear(tab)
            heard = await until(watching, is_presence("joined", alice))
            assert await people(hub_server, bobs, room) == [(alice.pk, False)]
            for _ in range(10):  # while they all come back, nobody flickers
                async with connect(hub_server, address, alices) as tab:
                    await hear(tab)
        heard += await until(watching, is_presence("left", alice))
        heard += await frames(watching, 1)
        assert presence(heard, room) == [("joined", alice.pk), ("left", alice.pk)]
        assert await people(hub_server, bobs, room) == []


async def test_a_reconnect_does_not_flicker(hub_server):
    alice, alices = await in_browser(hub_server)
    bob, bobs = await someone("bob")
    room = await closed_room(alice, bob)
    topic = topics.room(room.pk)
    async with connect(hub_server, f"/ws/rooms/{room.pk}/", bobs) as watching:
        await hear(watching)
        heard = []
        for _ in range(2):
            async with connect(hub_server, "/ws/", alices, topics=topic) as tab:
                await hear(tab)
                await tab.send('{"op":"visible","value":false}')
                heard += await frames(watching, 4)
        assert presence(heard, room) == [("joined", alice.pk), ("changed", alice.pk)]
        assert [one["data"].get("away") for one in heard] == [None, True]


async def test_who_only_listens_is_not_there(hub_server):
    alice, alices = await in_browser(hub_server)
    bob, bobs = await someone("bob")
    room, second = await closed_room(alice, bob), await closed_room(alice, bob)
    topic, other = topics.room(room.pk), topics.room(second.pk)
    async with (
        connect(hub_server, "/ws/me/", bobs, topics=f"{topic},{other}") as watching,
        connect(hub_server, "/ws/", alices, topics=f"{topic},{other}", absent=topic) as page,
    ):
        await hear(watching)
        await hear(page)
        heard = await until(watching, is_presence("joined", alice))
        heard += await frames(watching, 1)
        assert presence(heard, second) == [("joined", alice.pk)]
        assert presence(heard, room) == []
        await said(room, bob)
        assert await until(page, lambda one: one.get("type") == "message.created")
        assert (await answer(page, op="subscribe", topic=topic, present=True, ref=1))["ok"]
        assert presence(await until(watching, is_presence("joined", alice)), room)
        assert (await answer(page, op="subscribe", topic=topic, present=False, ref=2))["ok"]
        assert (await answer(page, op="unsubscribe", topic=other, ref=3))["ok"]
        heard = await until(watching, is_presence("left", alice))
        heard += await frames(watching, 4)
        assert presence(heard, room) == presence(heard, second) == [("left", alice.pk)]
        await said(room, bob, "still heard")
        assert await until(page, lambda one: one.get("data", {}).get("body") == "still heard")


@pytest.mark.parametrize(
    "query",
    ["absent=room.1&absent=room.2", "absent=" + ",".join(f"room.{n}" for n in range(1, 102))],
)
async def test_rooms_to_listen_to_are_named_once_and_a_hundred_at_most(hub_server, query):
    _, alices = await someone()
    async with websockets.connect(
        f"{hub_server.ws('/ws/')}?{query}", additional_headers=alices
    ) as socket:
        assert await close_code(socket) == 4400


async def test_a_script_with_a_key_is_nowhere(hub_server):
    alice, alices = await someone()
    room = await closed_room(alice)
    async with connect(hub_server, f"/ws/rooms/{room.pk}/", alices) as socket:
        await hear(socket)
        await socket.send('{"op":"visible","value":false}')
        assert presence(await frames(socket, 1), room) == []
        assert await people(hub_server, alices, room) == []


async def test_away_is_who_looks_at_none_of_their_tabs(hub_server):
    alice, alices = await in_browser(hub_server)
    bob, bobs = await someone("bob")
    room = await closed_room(alice, bob)
    address = f"/ws/rooms/{room.pk}/"
    async with (
        connect(hub_server, address, bobs) as watching,
        connect(hub_server, address, alices) as one,
        connect(hub_server, address, alices) as two,
    ):
        for socket in (watching, one, two):
            await hear(socket)
        await until(watching, is_presence("joined", alice))
        await one.send('{"op":"visible","value":false}')
        assert presence(await frames(watching, 1), room) == []
        await two.send('{"op":"visible","value":false}')
        await until(watching, is_presence("changed", alice, away=True))
        assert await people(hub_server, bobs, room) == [(alice.pk, True)]
        await one.send('{"op":"visible","value":true}')
        told = await until(watching, is_presence("changed", alice, away=False))
        assert set(told[-1]["data"]) == {"id", "name", "since", "away"}


async def test_who_was_removed_is_not_there_any_more(hub_server):
    alice, alices = await someone()
    bob, bobs = await in_browser(hub_server, "bob")
    room = await closed_room(alice, bob)
    topic = topics.room(room.pk)
    async with (
        connect(hub_server, f"/ws/rooms/{room.pk}/", alices) as watching,
        connect(hub_server, "/ws/", bobs, topics=topic) as page,
    ):
        await hear(watching)
        await hear(page)
        await until(watching, is_presence("joined", bob))
        await in_database(rooms.remove, room, bob, alice)
        async with asyncio.timeout(7):
            await until(watching, is_presence("left", bob))


async def test_only_who_may_read_a_room_is_told_who_is_there(hub_server):
    alice, _ = await someone()
    _, charlies = await someone("charlie")
    room = await closed_room(alice)
    async with httpx.AsyncClient(headers=charlies) as client:
        answers = [
            await client.get(f"{hub_server.url}/api/v1/presence?topic={topic}")
            for topic in (topics.room(room.pk), topics.room(10**15))
        ]
    assert {one.status_code for one in answers} == {403}
    assert answers[0].json() == answers[1].json()


async def test_nobody_but_the_hub_ends_a_room(hub_server):
    """A whisper, or somebody's own event, named like its end moves nothing."""
    alice, alices = await someone()
    room = await closed_room(alice)
    async with connect(hub_server, f"/ws/rooms/{room.pk}/", alices) as socket:
        await hear(socket)
        await in_database(events.whisper, topics.room(room.pk), "room.deleted", {"id": room.pk})
        assert (await hear(socket))["op"] == "whisper"
        assert (await answer(socket, **post(room, uuid.uuid4())))["ok"]
