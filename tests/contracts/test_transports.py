"""What every transport promises, held against all four under each server and layer."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.db import transaction
from django.utils import timezone

import events
from accounts.models import ApiKey
from consumers.database import in_database
from events import epoch, layer, log, redis_client, topics
from events.models import Event, Topic
from tests.contracts.clients import TRANSPORTS, Turned, first_cursor, listening
from tests.live import cookies_of, newcomer

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(60)]
every_transport = pytest.mark.parametrize("transport", TRANSPORTS)
HTTP = {400: 4400, 401: 4401, 403: 4403}


def publish(topic: str, count: int, kind: str = "order.late") -> None:
    events.publish_many((topic, kind, {"n": n, "text": "한국어 <b>"}) for n in range(count))


async def test_all_four_show_the_same_events_with_the_same_offsets(server, key):
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    headers = await in_database(key, alice)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(listening(name, server, headers=headers))
            for name in TRANSPORTS
        ]
        await in_database(publish, own, 3)
        await in_database(events.publish, topics.DASHBOARD, "order.late", {"about": own})
        for client in clients:
            await client.until(lambda heard: len(heard.offsets(own)) == 3)
            await client.until(
                lambda heard: any(e["data"].get("about") == own for e in heard.events)
            )
    logged = [event.as_dict() for event in await in_database(log.after, own, 0, 10)]
    assert len(logged) == 3
    for client in clients:
        assert [event for event in client.events if event["topic"] == own] == logged


@every_transport
async def test_who_comes_back_with_a_cursor_gets_exactly_what_was_missed(server, key, transport):
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    headers = await in_database(key, alice)
    async with listening(transport, server, headers=headers) as heard:
        await in_database(publish, own, 2)
        await heard.until(lambda heard: heard.offsets(own) == [1, 2])
    await in_database(publish, own, 3)
    async with listening(transport, server, headers=headers, cursor=heard.cursor) as again:
        await again.until(lambda heard: len(heard.offsets(own)) >= 3)
        await in_database(publish, own, 1)
        await again.until(lambda heard: heard.offsets(own) == [3, 4, 5, 6])
        assert again.resets == []


@every_transport
async def test_without_a_cursor_it_starts_from_now(server, key, transport):
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    headers = await in_database(key, alice)
    await in_database(publish, own, 5)
    async with listening(transport, server, headers=headers) as heard:
        await in_database(publish, own, 1)
        await heard.until(lambda heard: heard.offsets(own) == [6])


@every_transport
async def test_a_burst_arrives_whole_and_in_order(server, key, transport):
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    headers = await in_database(key, alice)
    async with listening(transport, server, headers=headers) as heard:
        await in_database(publish, own, 1300)
        await heard.until(lambda heard: len(heard.offsets(own)) >= 1300)
        assert heard.offsets(own) == list(range(1, 1301))


@every_transport
async def test_a_position_that_cannot_be_continued_is_a_reset(server, key, transport):
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    headers = await in_database(key, alice)
    await in_database(publish, own, 5)
    await in_database(Topic.objects.filter(name=own).update, floor=3)
    await in_database(Event.objects.filter(topic=own, offset__lte=3).delete)
    now = await in_database(epoch.current)
    for cursor, reason in [
        (f"{now}~{own}:2", "expired"),
        (f"{now}~{own}:6", "ahead"),
        (f"{now}~{own}:9223372036854775807", "ahead"),
        (f"0123456789abcdef~{own}:4", "epoch"),
        ("0123456789abcdef~room.1:4", "epoch"),
        ("0123456789abcdef", "epoch"),
    ]:
        async with listening(transport, server, headers=headers, cursor=cursor) as heard:
            await heard.until(lambda heard: bool(heard.resets))
            await heard.until(lambda heard: own in [reset["topic"] for reset in heard.resets])
            mine = [reset for reset in heard.resets if reset["topic"] == own]
            assert mine == [{"topic": own, "offset": 5, "reason": reason}]
            assert heard.events == []
    async with listening(transport, server, headers=headers, cursor=f"{now}~{own}:3") as heard:
        await heard.until(lambda heard: heard.offsets(own) == [4, 5])
        assert heard.resets == []


@every_transport
@pytest.mark.parametrize("reason", ["expired", "ahead", "epoch"])
async def test_no_cursor_runs_ahead_of_a_reset_that_is_still_to_be_said(
    server, key, transport, reason
):
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    headers = await in_database(key, alice)
    await in_database(publish, own, 5)
    await in_database(Topic.objects.filter(name=own).update, floor=3)
    now = await in_database(epoch.current)
    cursor = {
        "expired": f"{now}~{own}:2",
        "ahead": f"{now}~{own}:6",
        "epoch": f"0123456789abcdef~{own}:4",
    }[reason]
    query = {"headers": headers, "topics": own, "cursor": cursor}
    said, cursor = await first_cursor(transport, server, **query)
    if "reset" in said:
        assert transport != "websocket"
        return
    query["cursor"] = cursor
    async with listening(transport, server, **query) as heard:
        await heard.until(lambda heard: own in [reset["topic"] for reset in heard.resets])


@every_transport
async def test_positions_of_topics_not_asked_for_are_kept(server, key, transport):
    alice = await in_database(newcomer)
    headers = await in_database(key, alice)
    now = await in_database(epoch.current)
    cursor = f"{now}~room.77:12"
    async with listening(transport, server, headers=headers, cursor=cursor) as heard:
        assert "room.77:12" in heard.cursor.split("~")


@every_transport
@pytest.mark.parametrize(
    "query",
    [
        {"cursor": "nonsense!"},
        {"cursor": "nonsense"},
        {"cursor": "x"},
        {"cursor": "abc~user.1:-1"},
        {"cursor": "abc~user.1:9223372036854775808"},
        {"cursor": "abc~user.1:1e3"},
        {"cursor": "abc~nobody:1"},
        {"cursor": "a" * 8200},
        {"topics": ",".join(f"user.{n}" for n in range(1, 102))},
    ],
    ids=lambda query: str(query)[:30],
)
async def test_a_malformed_query_is_refused_with_400(server, key, transport, query):
    if server.kind == "uvicorn" and transport == "websocket" and len(str(query)) > 8192:
        pytest.skip("uvicorn's own handshake parser leaves a request line over 8 KiB unanswered")
    alice = await in_database(newcomer)
    headers = await in_database(key, alice)
    with pytest.raises(Turned) as turned:
        async with listening(transport, server, headers=headers, **query):
            pass
    assert HTTP.get(turned.value.code, turned.value.code) == 4400


@every_transport
async def test_strangers_are_told_to_sign_in(server, key, transport):
    alice = await in_database(newcomer)
    refused = [{}, {"Authorization": "Bearer hub_wrong"}, {"Authorization": "Basic x"}]
    cookie = await in_database(cookies_of, alice)
    both = {
        "Authorization": "Bearer hub_wrong",
        "Cookie": "; ".join(f"{k}={v}" for k, v in cookie.items()),
        "Origin": server.url,
    }
    for headers in [*refused, both]:
        with pytest.raises(Turned) as turned:
            async with listening(transport, server, headers=headers):
                pass
        assert HTTP.get(turned.value.code, turned.value.code) == 4401


@every_transport
async def test_a_key_without_the_read_scope_reads_nothing(server, key, transport):
    alice = await in_database(newcomer)
    headers = await in_database(key, alice, "publish")
    with pytest.raises(Turned) as turned:
        async with listening(transport, server, headers=headers):
            pass
    assert HTTP.get(turned.value.code, turned.value.code) == 4403


@every_transport
async def test_foreign_and_absent_topics_are_revoked_alike_and_the_rest_is_served(
    server, key, transport
):
    alice, bob = await in_database(newcomer), await in_database(newcomer, "bob")
    headers = await in_database(key, alice)
    own, foreign = topics.user(alice.pk), topics.user(bob.pk)
    asked = [own, foreign, "user.999999999", "room.1", "group.none", "access", "rubbish", "team.1"]
    async with listening(transport, server, headers=headers, topics=",".join(asked)) as heard:
        await in_database(publish, foreign, 1)
        await in_database(publish, own, 1)
        await heard.until(lambda heard: heard.offsets(own) == [1])
        await heard.until(lambda heard: sorted(heard.revoked) == sorted(asked[1:]))
        assert heard.offsets(foreign) == []


@every_transport
async def test_a_rolled_back_event_is_never_seen(server, key, transport):
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    headers = await in_database(key, alice)

    def half() -> None:
        with transaction.atomic():
            events.publish(own, "order.kept", {})
            try:
                with transaction.atomic():
                    events.publish(own, "order.lost", {})
                    raise RuntimeError
            except RuntimeError:
                pass

    async with listening(transport, server, headers=headers) as heard:
        await in_database(half)
        await in_database(publish, own, 1, "order.last")
        await heard.until(lambda heard: len(heard.offsets(own)) == 2)
        assert [event["type"] for event in heard.events if event["topic"] == own] == [
            "order.kept",
            "order.last",
        ]


@every_transport
async def test_what_a_process_left_unnumbered_when_it_died_arrives(server, key, transport):
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    headers = await in_database(key, alice)
    async with listening(transport, server, headers=headers) as heard:
        await in_database(Event.objects.create, topic=own, type="order.late", data='{"n":1}')
        await heard.until(lambda heard: heard.offsets(own) == [1])


@every_transport
async def test_lost_doubled_late_and_forged_layer_messages_cost_no_data(
    server, key, transport, monkeypatch
):
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    headers = await in_database(key, alice)
    now = await in_database(epoch.current)

    async with listening(transport, server, headers=headers) as heard:
        monkeypatch.setattr(layer, "group_send_many", lambda messages: None)
        await in_database(publish, own, 6)
        logged = await in_database(log.after, own, 0, 10)
        messages = [
            {"type": "hub.event", "epoch": now, "event": event.as_dict()} for event in logged
        ]
        forged = {**logged[0].as_dict(), "offset": 7, "type": "order.forged"}
        for message in [
            messages[2],  # 3 before 1
            messages[0],
            messages[0],
            {"type": "hub.event", "epoch": "0" * 16, "event": forged},
            messages[4],  # 5 without 4
            {"type": "websocket.receive", "text": "{}"},
            {"type": "no.such.kind"},
            {"type": "hub.event"},
            {"type": "hub.event", "epoch": now, "event": {"topic": own}},
            {"type": "hub.whisper", "whisper": None},
        ]:
            await layer.current().group_send(own, message)
        await heard.until(lambda heard: len(heard.offsets(own)) >= 6)
        await asyncio.sleep(0.3)
        assert heard.offsets(own) == [1, 2, 3, 4, 5, 6]
        assert {event["type"] for event in heard.events} == {"order.late"}


def slip_in(topic: str, payload: bytes) -> None:
    """Put bytes where the layer's messages to a topic pass, as somebody does who has Redis and no key."""
    client, mark = redis_client.blocking(), redis_client.prefix()
    if isinstance(layer.current(), layer.PubSubLayer):
        assert client.publish(f"{mark}__group__{topic}", payload) == 1
        return
    members: Any = client.zrange(f"{mark}:group:{topic}", 0, -1)
    assert len(members) == 1
    channel = members[0].decode().partition("!")[0]
    client.zadd(f"{mark}{channel}!", {payload: time.time()})


async def test_what_is_not_encrypted_with_our_key_is_ignored_and_holds_nothing_up(
    server, key, settings
):
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    headers = await in_database(key, alice)
    now = await in_database(epoch.current)
    forged = {"topic": own, "type": "order.forged", "data": {}}
    messages = [
        {"type": "hub.whisper", "whisper": forged},
        {"type": "hub.event", "epoch": now, "event": {**forged, "offset": 1, "at": "now"}},
    ]
    ours, backend = settings.HUB_LAYER_KEY, type(layer.current())
    settings.HUB_LAYER_KEY = "another installation's key"
    sealed = [backend().serialize(message) for message in messages]
    settings.HUB_LAYER_KEY = ours
    plain = json.dumps(messages[0]).encode()
    damaged = layer.current().serialize(messages[0])[:-1]
    async with listening("websocket", server, headers=headers, topics=own) as heard:
        before = server.said().count(REFUSED)
        payloads = [b"", b"\x00\xff", plain, *sealed, damaged]
        for payload in payloads:
            await asyncio.to_thread(slip_in, own, payload)
        await events.awhisper(own, "order.tick", {})  # has no other way than the layer
        await in_database(publish, own, 1)
        await heard.until(lambda heard: bool(heard.whispers) and heard.offsets(own) == [1])
        assert [whisper["type"] for whisper in heard.whispers] == ["order.tick"]
        assert [event["type"] for event in heard.events] == ["order.late"]
        assert server.said().count(REFUSED) - before == len(payloads)


REFUSED = "A layer message was refused (InvalidToken)"


@pytest.mark.parametrize("transport", ["websocket", "stream", "long-poll"])
async def test_whispers_reach_who_is_there(server, key, transport):
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    headers = await in_database(key, alice)
    # On the default topics the presence of other tests' people is whispered too, and ends a long poll.
    async with listening(transport, server, headers=headers, topics=own) as heard:
        await asyncio.sleep(0.3)  # a long poll's second request is on its way
        await events.awhisper(own, "order.tick", {"id": 1, "n": 7})
        await heard.until(
            lambda heard: (
                [whisper for whisper in heard.whispers if whisper["topic"] == own]
                == [{"topic": own, "type": "order.tick", "data": {"id": 1, "n": 7}}]
            )
        )


@every_transport
async def test_a_new_epoch_resets_everybody(server, key, transport):
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    headers = await in_database(key, alice)
    await in_database(publish, own, 2)
    async with listening(transport, server, headers=headers) as heard:
        renewed = await in_database(epoch.renew)
        await heard.until(lambda heard: own in [reset["topic"] for reset in heard.resets])
        assert {reset["reason"] for reset in heard.resets} == {"epoch"}
        await in_database(publish, own, 1)
        await heard.until(lambda heard: heard.offsets(own) == [3])
        if transport != "websocket":
            await heard.until(lambda heard: heard.cursor.startswith(renewed))


def why_of(resets: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(reset["topic"], reset["reason"]) for reset in resets]


@every_transport
async def test_a_log_that_goes_back_under_a_running_server_resets_its_readers(
    server, key, transport
):
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    headers = await in_database(key, alice)
    before = await in_database(epoch.current)

    def go_back() -> None:
        with transaction.atomic():
            Event.objects.filter(topic=own, offset__gt=2).delete()
            Topic.objects.filter(name=own).update(head=2)

    async with listening(transport, server, headers=headers) as heard:
        await in_database(publish, own, 5)
        await heard.until(lambda heard: len(heard.offsets(own)) == 5)
        await in_database(go_back)
        if transport == "poll":  # nobody listens, so it is only noticed that the client is ahead
            await heard.until(lambda heard: (own, "ahead") in why_of(heard.resets))
        else:  # a long poll that asks again before the pulse looks is told so first
            await heard.until(lambda heard: (own, "epoch") in why_of(heard.resets))
            assert await in_database(epoch.current) != before
        await in_database(publish, own, 3, "order.again")
        await heard.until(lambda heard: heard.offsets(own)[5:] == [3, 4, 5])


@every_transport
async def test_leaving_a_team_ends_its_topic_and_nothing_else(server, key, transport):
    alice = await in_database(newcomer)
    team = await in_database(Group.objects.create, name=f"team of {alice.username}")
    await in_database(alice.groups.add, team)
    own, shared = topics.user(alice.pk), topics.team(team.pk)
    headers = await in_database(key, alice)
    async with listening(transport, server, headers=headers, topics=f"{own},{shared}") as heard:
        await in_database(publish, shared, 1)
        await heard.until(lambda heard: heard.offsets(shared) == [1])
        await in_database(alice.groups.remove, team)
        await heard.until(lambda heard: heard.revoked == [shared])
        await in_database(publish, shared, 1)
        await in_database(publish, own, 1)
        await heard.until(lambda heard: heard.offsets(own) == [1])
        assert heard.offsets(shared) == [1]


@pytest.mark.parametrize("transport", ["stream", "long-poll", "poll"])
async def test_over_http_a_star_stands_for_the_usual_topics(server, key, transport):
    alice = await in_database(newcomer)
    team = await in_database(Group.objects.create, name=f"team of {alice.username}")
    own, shared = topics.user(alice.pk), topics.team(team.pk)
    headers = await in_database(key, alice)
    asked = {"topics": f"*,{own}", "headers": headers}
    async with listening(transport, server, **asked) as heard:
        await in_database(publish, own, 1)
        await heard.until(lambda heard: heard.offsets(own) == [1])
        assert heard.revoked == []
        if transport != "poll":
            await asyncio.sleep(0.3)  # a long poll's next request is on its way
            await in_database(alice.groups.add, team)
            await heard.until(lambda heard: heard.turned in {503, 0})
    await in_database(alice.groups.add, team)
    async with listening(transport, server, cursor=heard.cursor, **asked) as again:
        await in_database(publish, shared, 1)
        await again.until(lambda heard: heard.offsets(shared) == [1])


@pytest.mark.parametrize("transport", ["websocket", "stream", "long-poll"])
async def test_who_joins_a_team_is_told_to_come_back_and_then_reads_it(server, key, transport):
    alice = await in_database(newcomer)
    team = await in_database(Group.objects.create, name=f"team of {alice.username}")
    headers = await in_database(key, alice)
    async with listening(transport, server, headers=headers) as heard:
        await asyncio.sleep(0.3)  # a long poll's second request is on its way
        await in_database(alice.groups.add, team)
        await heard.until(lambda heard: heard.turned in {4012, 503, 0})
    async with listening(transport, server, headers=headers, cursor=heard.cursor) as again:
        await in_database(publish, topics.team(team.pk), 1)
        await again.until(lambda heard: heard.offsets(topics.team(team.pk)) == [1])


@every_transport
@pytest.mark.parametrize("loss", ["key revoked", "account deactivated", "account updated silently"])
async def test_losing_access_ends_the_connection_within_seconds(server, key, transport, loss):
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    headers = await in_database(key, alice)

    def lose() -> None:
        if loss == "key revoked":
            ApiKey.objects.get(user=alice).delete()
        elif loss == "account deactivated":
            alice.is_active = False
            alice.save()
        else:
            type(alice).objects.filter(pk=alice.pk).update(is_active=False)

    async with listening(transport, server, headers=headers) as heard:
        await in_database(lose)
        async with asyncio.timeout(5):
            await heard.until(lambda heard: heard.turned is not None)
        assert heard.turned in {4401, 401, 0}
        await in_database(publish, own, 1)
        assert heard.offsets(own) == []


@every_transport
@pytest.mark.parametrize("end", ["deleted", "expired", "password changed"])
async def test_the_end_of_a_session_ends_exactly_its_connections(server, key, transport, end):
    alice = await in_database(newcomer)
    own = topics.user(alice.pk)
    cookie = await in_database(cookies_of, alice)
    (session_key,) = cookie.values()
    headers = {"Cookie": f"sessionid={session_key}", "Origin": server.url}
    other = await in_database(key, alice)

    def finish() -> None:
        if end == "deleted":
            Session.objects.filter(pk=session_key).delete()
        elif end == "expired":
            past = timezone.now() - timedelta(seconds=1)
            Session.objects.filter(pk=session_key).update(expire_date=past)
        else:
            alice.set_password("another one entirely")
            alice.save()

    async with (
        listening(transport, server, headers=headers) as heard,
        listening(transport, server, headers=other) as bystander,
    ):
        await in_database(finish)
        async with asyncio.timeout(5):
            await heard.until(lambda heard: heard.turned is not None)
        assert heard.turned in {4401, 401, 0}
        await in_database(publish, own, 1)
        await bystander.until(lambda heard: heard.offsets(own) == [1])
