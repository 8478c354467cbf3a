"""What server and worker log on an ordinary morning: each line says what it is about, and none says a secret."""

from __future__ import annotations

import asyncio
import json
import secrets
import uuid
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User

from accounts.authenticate import make_key
from chat import rooms
from consumers.database import in_database
from tasks.models import Job, State
from tests.faults.rig import Rig, rig
from tests.live import collected_static, cookies_of, newcomer
from tests.people import PASSWORD
from tests.reference_client import ReferenceClient

SITE = {"HUB_APPS": "tests.shop", "DJANGO_SETTINGS_MODULE": "tests.shop.site"}
ORIGIN = "origin"

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(180)]


class Morning:
    """Everything that is said and sent, and must not be found again."""

    def __init__(self, hub: Rig) -> None:
        self.hub = hub
        self.secrets: dict[str, str] = {"password": PASSWORD}

    def secret(self, name: str) -> str:
        return self.secrets.setdefault(name, f"{name.replace(' ', '')}{secrets.token_hex(8)}")

    async def signs_in(self, user: User) -> None:
        async with httpx.AsyncClient(
            base_url=self.hub.url, headers={ORIGIN: self.hub.url}, timeout=60
        ) as http:
            form = await http.get("/accounts/login/")
            token = form.text.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
            for password in (self.secret("wrong password"), PASSWORD):
                data = {
                    "username": user.username,
                    "password": password,
                    "csrfmiddlewaretoken": token,
                }
                answer = await http.post("/accounts/login/", data=data)
            assert answer.status_code == 302, answer.text
            for name, value in http.cookies.items():
                self.secrets[f"cookie {name}"] = value
            self.secrets["form token"] = token
            assert (await http.get("/")).status_code == 200
            absent = await http.get("/accounts/setup/", params={"token": self.secret("link")})
            assert absent.status_code in {200, 302, 404}
            data = {"secret": self.secret("of a form")}
            assert (await http.post("/shop/stumble/", data=data)).status_code == 500

    async def calls(self, key: str, room: int) -> None:
        self.secrets["key"] = key
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(
            base_url=f"{self.hub.url}/api/v1/", headers=headers, timeout=60
        ) as http:
            event = {"topic": "group.sales", "type": "order.late"}
            body = {**event, "data": {"text": self.secret("event")}}
            assert (await http.post("events", json=body)).status_code == 201
            for wrong in ({"type": self.secret("type")}, {"data": [self.secret("data")]}):
                assert (await http.post("events", json={**body, **wrong})).status_code == 422
            message = {"client_id": str(uuid.uuid4()), "body": self.secret("message")}
            posted = await http.post(f"rooms/{room}/messages", json=message)
            assert posted.status_code == 201, posted.text
            lost = await http.post("rooms/987654/messages", json=message)
            assert lost.status_code == 404
            bad = {"Authorization": f"Bearer hub_{self.secret('bad key')}"}
            assert (await http.get("me", headers=bad)).status_code == 401

    async def talks(self, user: User, room: int) -> None:
        await in_database(user.refresh_from_db)  # signing in has hashed the password anew
        cookies = await in_database(cookies_of, user)
        self.secrets["socket cookie"] = next(iter(cookies.values()))
        async with ReferenceClient(self.hub.url, cookies=cookies) as client:
            await client.until_live()
            post = {"op": "post", "topic": f"room.{room}", "body": self.secret("said")}
            assert (await client.request({**post, "client_id": str(uuid.uuid4())}))["ok"]
            unfit = await client.request({**post, "client_id": self.secret("client id")})
            assert not unfit["ok"]
            denied = await client.request({"op": "subscribe", "topic": "room.987654"})
            assert denied["error"]["code"] == "forbidden"
        stray = ReferenceClient(self.hub.url, cookies=cookies, origin="http://elsewhere.example")
        await asyncio.wait_for(stray.run(), 30)
        assert stray.closed == [4403]

    def lines(self) -> list[dict[str, Any]]:
        said = "\n".join(child.said() for child in [*self.hub.servers, *self.hub.workers])
        return [json.loads(line) for line in said.splitlines() if line.startswith("{")]

    def betrayed(self) -> list[str]:
        said = self.hub.said()
        return [name for name, secret in self.secrets.items() if secret in said]


def of(lines: list[dict[str, Any]], text: str) -> list[dict[str, Any]]:
    return [line for line in lines if text in line["message"]]


async def test_every_line_has_its_id_and_none_a_secret():
    await in_database(newcomer, "admin", is_superuser=True)  # else the hub asks for its first one
    alice = await in_database(newcomer)
    key = (await in_database(make_key, alice, "script"))[1]
    room = await in_database(rooms.create, alice, "closed", "Den")
    await in_database(collected_static)
    with rig(workers=1, env=SITE) as hub:
        morning = Morning(hub)
        await morning.signs_in(alice)
        await morning.calls(key, room.pk)
        await morning.talks(alice, room.pk)
        hub.write("fail_at", owner=alice.pk, secret=morning.secret("argument"))
        jobs = Job.objects.filter(owner=alice, kind="tests.shop.tasks.tactful")
        async with asyncio.timeout(60):
            while await in_database(jobs.filter(finished_at=None).exists):
                await asyncio.sleep(0.1)
        job = await in_database(jobs.get)
        assert job.state == State.FAILED
        async with asyncio.timeout(10):
            while not of(morning.lines(), "Task tests.shop.tasks.tactful"):
                await asyncio.sleep(0.1)
        lines = morning.lines()
        betrayed = morning.betrayed()
    assert not betrayed, betrayed

    expected = {
        "django.request": ("Internal Server Error: /shop/stumble/", "Not Found: /api/v1/rooms"),
        "accounts.sign_in": ("sign-in from",),
        "consumers.websocket": ("socket refused: origin", "refused: 4403"),
        "consumers.door": ("was refused ['room.987654']",),
    }
    for logger, texts in expected.items():
        for text in texts:
            found = [line for line in of(lines, text) if line["logger"] == logger]
            assert found, (logger, text)
            assert all(len(line["request_id"]) == 16 for line in found)
    about_requests = [line for line in lines if line["logger"].split(".")[0] in WORK]
    nameless = [line for line in about_requests if not line.get("request_id")]
    assert not nameless, nameless
    failed = of(lines, "Internal Server Error: /shop/stumble/")[0]
    others = {line["request_id"] for line in about_requests if line is not failed}
    assert failed["request_id"] not in others
    assert "characters are too many" in failed["exception"]

    of_the_job = [line for line in lines if line.get("job") == str(job.pk)]
    assert {line["logger"] for line in of_the_job} == {"tests.shop.tasks", "celery.app.trace"}
    assert len({line["task_id"] for line in of_the_job}) == 1


WORK = {"django", "accounts", "consumers", "chat", "notifications", "web"}
"""Who logs in a server while it answers somebody."""
