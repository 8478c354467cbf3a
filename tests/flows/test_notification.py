"""From one person's API call to another person's screen, through every door."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import httpx
import pytest

from accounts.authenticate import make_key
from consumers.database import in_database
from events import topics
from tests.contracts.clients import TRANSPORTS, listening
from tests.live import live_server, newcomer

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(90)]


def headers_of(name: str) -> tuple[str, int, dict[str, str]]:
    user = newcomer(name)
    return user.username, user.pk, {"Authorization": f"Bearer {make_key(user, 'test')[1]}"}


@pytest.mark.parametrize("kind", ["daphne", "gunicorn+daphne"])
async def test_a_notification_reaches_its_person_on_all_four_transports_and_nobody_else(kind):
    _, _, alice = await in_database(headers_of, "alice")
    bob_name, bob_id, bob = await in_database(headers_of, "bob")
    _, charlie_id, charlie = await in_database(headers_of, "charlie")
    with live_server(kind) as server:
        async with AsyncExitStack() as stack, httpx.AsyncClient(base_url=server.url) as api:
            clients = [
                await stack.enter_async_context(listening(name, server, headers=bob))
                for name in TRANSPORTS
            ]
            outsiders = [
                await stack.enter_async_context(
                    listening(name, server, headers=charlie, topics=topics.user(bob_id))
                )
                for name in TRANSPORTS
            ]
            body = {
                "to": {"users": [bob_name]},
                "kind": "order.late",
                "title": "<script>alert(1)</script> 주문 지연",
                "body": '"><img src=x onerror=alert(2)>',
                "key": "once",
            }
            answers = [
                await api.post("/api/v1/notifications", json=body, headers=alice) for _ in "12"
            ]
            assert [answer.status_code for answer in answers] == [201, 200]
            assert answers[0].json() == {"notifications": 1}
            for client in clients:
                await client.until(lambda heard: bool(heard.offsets(topics.user(bob_id))))
            inbox = (await api.get("/api/v1/inbox", headers=bob)).json()
            await asyncio.sleep(0.5)
        expected = {**inbox["items"][0], "unread": 1}
        assert (expected["title"], inbox["unread"]) == (body["title"], 1)
        for client in clients:
            own = [event for event in client.events if event["topic"] == topics.user(bob_id)]
            assert [(event["offset"], event["type"], event["data"]) for event in own] == [
                (1, "notification.created", expected)
            ]
        for outsider in outsiders:
            assert outsider.revoked == [topics.user(bob_id)]
            assert outsider.offsets(topics.user(bob_id)) == []
        assert charlie_id != bob_id


async def test_read_state_follows_within_a_second(hub_server):
    _, _, alice = await in_database(headers_of, "alice")
    bob_name, _, bob = await in_database(headers_of, "bob")
    async with httpx.AsyncClient(base_url=hub_server.url) as api:
        body = {"to": {"users": [bob_name]}, "kind": "order.late", "title": "late"}
        await api.post("/api/v1/notifications", json=body, headers=alice)
        item = (await api.get("/api/v1/inbox", headers=bob)).json()["items"][0]
        async with listening("websocket", hub_server, headers=bob) as phone:
            answer = await api.patch(
                f"/api/v1/inbox/{item['id']}", json={"read": True}, headers=bob
            )
            assert answer.json() == {"unread": 0}
            async with asyncio.timeout(1):
                await phone.until(lambda heard: bool(heard.events))
        assert phone.events[0]["type"] == "notification.changed"
        assert phone.events[0]["data"] == {"id": item["id"], "read": True, "unread": 0}
        foreign = await api.patch(f"/api/v1/inbox/{item['id']}", json={"read": True}, headers=alice)
        absent = await api.patch("/api/v1/inbox/999999999", json={"read": True}, headers=alice)
        assert (foreign.status_code, foreign.json()) == (absent.status_code, absent.json())
        assert foreign.status_code == 404
