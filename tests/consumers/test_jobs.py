"""Who hears what of a job, by socket and by HTTP, from a real server."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User

from consumers.database import in_database
from events import topics
from tasks import external, jobs
from tasks.models import Job
from tests.consumers.test_websocket import ask, close_code, connect, hear, someone
from tests.contracts.clients import TRANSPORTS, listening

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(60)]
every_transport = pytest.mark.parametrize("transport", TRANSPORTS)


async def superuser() -> tuple[User, dict[str, str]]:
    user, headers = await someone("admin")
    await in_database(_promote, user, True)
    return user, headers


def _promote(user: User, is_superuser: bool) -> None:
    user.is_superuser = is_superuser
    user.save()


async def script_of(user: User) -> Job:
    return await in_database(external.start, user, "Nightly backup", 3600)


@every_transport
async def test_its_owner_and_superusers_hear_of_a_job(hub_server, transport):
    alice, alices = await someone()
    _, admins = await superuser()
    job = await script_of(alice)
    topic = topics.job(job.pk)
    async with (
        listening(transport, hub_server, topics=topic, headers=alices) as owner,
        listening(transport, hub_server, topics=topic, headers=admins) as other,
    ):
        await in_database(external.finish, job, True, "3 tables")
        for heard in (owner, other):
            await heard.until(lambda heard: heard.offsets(topic) == [3])
            ended = next(event for event in heard.events if event["topic"] == topic)
            assert (ended["type"], ended["data"]["summary"]) == ("job.succeeded", "3 tables")
            assert heard.revoked == []


@every_transport
async def test_anothers_job_is_revoked_as_one_that_does_not_exist(hub_server, transport):
    alice, _ = await someone()
    _, bobs = await someone("bob")
    job = await script_of(alice)
    foreign, absent = topics.job(job.pk), topics.job(uuid.uuid4())
    both = f"group.sales,{foreign},{absent}"
    async with listening(transport, hub_server, topics=both, headers=bobs) as heard:
        await heard.until(lambda heard: set(heard.revoked) == {foreign, absent})
        await in_database(external.finish, job, True)
        await asyncio.sleep(0.3)
        assert heard.offsets(foreign) == []
        assert all(whisper["topic"] != foreign for whisper in heard.whispers)


async def test_the_address_of_a_job_serves_that_job(hub_server):
    alice, headers = await someone()
    job = await script_of(alice)
    async with connect(hub_server, f"/ws/jobs/{job.pk}/", headers) as socket:
        assert (await hear(socket))["offsets"] == {topics.job(job.pk): 2}
        await in_database(jobs.cancel, job.pk, alice)
        asked = await hear(socket)
        assert (asked["op"], asked["data"]["cancel_requested"]) == ("whisper", True)
        await in_database(external.finish, job, False)
        event = await hear(socket)
        assert (event["offset"], event["type"]) == (3, "job.cancelled")


async def test_anothers_address_closes_as_one_of_no_job(hub_server):
    alice, _ = await someone()
    _, bobs = await someone("bob")
    job = await script_of(alice)
    for job_id in (job.pk, uuid.uuid4(), str(job.pk).upper(), "1"):
        async with connect(hub_server, f"/ws/jobs/{job_id}/", bobs) as socket:
            assert await close_code(socket) == 4403


async def test_anothers_job_cannot_be_subscribed_to(hub_server):
    alice, alices = await someone()
    _, bobs = await someone("bob")
    job = await script_of(alice)
    topic = topics.job(job.pk)
    async with connect(hub_server, "/ws/", bobs) as socket:
        await hear(socket)
        told = []
        for asked in (topic, topics.job(uuid.uuid4())):
            for cursor in ("", "0", "1"):
                more = {"cursor": cursor} if cursor else {}
                told.append(await ask(socket, op="subscribe", topic=asked, ref=1, **more))
        assert all(reply == told[0] for reply in told)
        assert told[0]["error"]["code"] == "forbidden"
    async with connect(hub_server, "/ws/", alices) as socket:
        await hear(socket)
        reply = await ask(socket, op="subscribe", topic=topic, ref=1)
        assert (reply["ok"], reply["data"]["offset"]) == (True, 2)


@every_transport
async def test_who_is_no_superuser_any_more_hears_nothing_more(hub_server, transport):
    alice, _ = await someone()
    admin, admins = await superuser()
    job = await script_of(alice)
    topic = topics.job(job.pk)
    both = f"group.sales,{topic}"
    async with listening(transport, hub_server, topics=both, headers=admins) as heard:
        assert heard.revoked == []
        await in_database(_promote, admin, False)
        async with asyncio.timeout(5):
            await heard.until(lambda heard: heard.revoked == [topic])
        await in_database(external.finish, job, True)
        await asyncio.sleep(0.3)
        assert heard.offsets(topic) == []
        assert heard.turned is None


async def test_the_address_of_a_job_closes_for_who_is_no_superuser_any_more(hub_server):
    alice, _ = await someone()
    admin, admins = await superuser()
    job = await script_of(alice)
    async with connect(hub_server, f"/ws/jobs/{job.pk}/", admins) as socket:
        await hear(socket)
        # silently, as another program would
        await in_database(User.objects.filter(pk=admin.pk).update, is_superuser=False)
        async with asyncio.timeout(5):
            assert await close_code(socket) == 4403


async def report(server: Any, headers: dict[str, str], job: Any, verb: str, **body: Any) -> Any:
    async with httpx.AsyncClient(headers=headers) as client:
        place = f"/{job}/{verb}" if job else ""
        answer = await client.post(f"{server.url}/api/v1/jobs/external{place}", json=body)
        assert answer.status_code in {200, 201}, answer.text
        return answer.json()


@pytest.mark.parametrize("transport", ["websocket", "stream", "long-poll"])
async def test_what_a_script_reports_is_heard_live_in_full_and_by_others_in_short(
    hub_server, transport
):
    _, alices = await someone()
    _, bobs = await someone("bob")
    job = await report(hub_server, alices, None, "", title="Nightly backup")
    topic = topics.job(job["id"])
    short = {name: job[name] for name in ("id", "state", "kind", "owner", "done", "total")}

    def told(heard: Any, kind: str, about: str) -> list[dict[str, Any]]:
        return [
            one["data"]
            for one in heard.whispers
            if (one["type"], one["topic"], one["data"]["id"]) == (kind, about, job["id"])
        ]

    async with (
        listening(transport, hub_server, topics=topic, headers=alices) as owner,
        listening(transport, hub_server, topics=topics.DASHBOARD, headers=bobs) as other,
    ):
        await asyncio.sleep(0.3)  # a long poll's second request is on its way
        await report(hub_server, alices, job["id"], "progress", done=3, total=10, note="tables")
        await owner.until(lambda heard: bool(told(heard, "job.progress", topic)))
        await other.until(lambda heard: bool(told(heard, "job.progress", topics.DASHBOARD)))
        assert told(owner, "job.progress", topic)[0] | {"at": ""} == {
            "id": job["id"], "attempt": 1, "done": 3, "total": 10, "note": "tables", "at": "",
        }  # fmt: skip
        assert told(other, "job.progress", topics.DASHBOARD) == [{**short, "done": 3, "total": 10}]
        await report(hub_server, alices, job["id"], "log", text="one\ntwo")
        await owner.until(lambda heard: bool(told(heard, "job.log", topic)))
        said = told(owner, "job.log", topic)[0]
        assert (said["n"], said["next"], said["lines"]) == (1, 3, ["one", "two"])
        assert all(one["type"] != "job.log" for one in other.whispers)
        await report(hub_server, alices, job["id"], "finish", ok=True, summary="kept from others")
        await other.until(lambda heard: any(_is_about(job, event) for event in heard.events))
        ended = next(event["data"] for event in other.events if _is_about(job, event))
        assert ended == {**short, "state": "succeeded", "done": 3, "total": 10}


def _is_about(job: dict[str, Any], event: dict[str, Any]) -> bool:
    return bool(event["data"].get("id") == job["id"])
