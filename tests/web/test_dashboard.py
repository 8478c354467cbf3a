from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import Group

from chat import marks, messages, rooms
from chat.models import Involvement, Room
from events import log, presence, publish, redis_client, sequence, topics
from events.models import Event, Topic
from events.presence import Lease
from notifications import announcements, notify
from tasks import jobs
from tasks.models import Attempt, Job, Outage, State
from web import dashboard, my_rooms

pytestmark = pytest.mark.django_db(transaction=True)


def test_shows_what_needs_me_what_is_announced_and_what_happens(alice, bob):
    notify(to=alice, kind="orders.late", title="Order 1 is late")
    notify(to=bob, kind="orders.late", title="Not for alice")
    announcements.create(bob, "Closed on Friday")
    publish("group.dashboard", "orders.order.created", {"title": "Order 2", "url": "/orders/2/"})
    publish("group.dashboard", "orders.tick", {"count": 3})
    shown = dashboard.snapshot(alice)
    assert shown["unread"] == 1
    assert [item["title"] for item in shown["needs_me"]] == ["Order 1 is late"]
    assert [item["title"] for item in shown["announcements"]] == ["Closed on Friday"]
    titles = [item["title"] for item in shown["activity"]]
    assert titles == ["Order 2", "Closed on Friday"]
    assert len(shown["per_minute"]) == 60
    assert sum(minute["count"] for minute in shown["per_minute"]) == 4


@pytest.fixture
def once_positioned(monkeypatch):
    """Does something right after the next position was read, before anything is counted."""

    def plan(act: Callable[[], Any]) -> None:
        position = log.position

        def then_act(names: Any) -> log.Position:
            monkeypatch.setattr(log, "position", position)
            found = position(names)
            act()
            return found

        monkeypatch.setattr(log, "position", then_act)

    return plan


def shown_to(client: Any, user: Any, address: str) -> dict[str, Any]:
    """The snapshot of the API, or the one of a page, with the cursor that the page goes on from."""
    client.force_login(user)
    answer = client.get(address)
    is_api = address.startswith("/api/")
    shown: dict[str, Any] = answer.json() if is_api else answer.context["snapshot"]
    assert is_api or f'data-cursor="{shown["cursor"]}"' in answer.content.decode()
    return shown


LOADS = pytest.mark.parametrize("address", ["/", "/wall/", "/api/v1/dashboard"])


@LOADS
def test_an_event_during_the_load_is_counted_once(client, alice, once_positioned, address):
    publish("group.dashboard", "orders.order.created", {"title": "Before"})
    once_positioned(lambda: publish("group.dashboard", "orders.tick", {}))
    shown = shown_to(client, alice, address)
    assert sum(minute["count"] for minute in shown["per_minute"]) == 1
    assert [event.type for event in events_after(shown)] == ["orders.tick"]


@LOADS
def test_a_job_that_ends_during_the_load_is_counted_once(client, alice, once_positioned, address):
    at_noon(alice)
    job(alice, state=State.SUCCEEDED)
    once_positioned(lambda: job(alice, state=State.SUCCEEDED))
    shown = shown_to(client, alice, address)
    assert totals(shown["jobs"]["today"])["succeeded"] == 1
    assert totals_after(shown)["succeeded"] == 2


def test_a_job_whose_event_has_no_offset_yet_is_counted_once(alice):
    at_noon(alice)
    job(alice, state=State.FAILED)
    head = log.heads([topics.DASHBOARD])[topics.DASHBOARD]
    Topic.objects.filter(name=topics.DASHBOARD).update(head=head - 1)
    Event.objects.filter(topic=topics.DASHBOARD, offset=head).update(offset=None)
    shown = dashboard.snapshot(alice)
    assert totals(shown["jobs"]["today"])["failed"] == 0
    sequence.flush([topics.DASHBOARD])
    assert totals_after(shown)["failed"] == 1


def totals_after(shown: dict[str, Any]) -> dict[str, int]:
    counts = totals(shown["jobs"]["today"])
    for event in events_after(shown):
        if event.topic == topics.DASHBOARD and event.data.get("state") in counts:
            counts[event.data["state"]] += 1
    return counts


def test_activity_holds_only_topics_of_mine(alice):
    team = Group.objects.create(name="Warehouse")
    publish(f"team.{team.pk}", "orders.order.created", {"title": "For the team"})
    assert dashboard.snapshot(alice)["activity"] == []
    alice.groups.add(team)
    assert [item["title"] for item in dashboard.snapshot(alice)["activity"]] == ["For the team"]


def test_own_topic_shows_events_but_not_the_inbox_again(alice):
    notify(to=alice, kind="orders.late", title="In the inbox")
    publish(f"user.{alice.pk}", "orders.order.created", {"title": "Mine alone"})
    assert [item["title"] for item in dashboard.snapshot(alice)["activity"]] == ["Mine alone"]


def test_the_api_answers_the_same(client, alice):
    publish("group.dashboard", "orders.order.created", {"title": "Order 2"})
    client.force_login(alice)
    answer = client.get("/api/v1/dashboard").json()
    page = client.get("/").context["snapshot"]
    for part in (
        "activity",
        "announcements",
        "unread",
        "needs_me",
        "topics",
        "cursor",
        "jobs",
        "rooms",
    ):
        assert answer[part] == page[part]


def test_people_are_those_that_presence_tells(client, alice, bob):
    leases = [Lease(topics.DASHBOARD, user.pk, user.username, "c") for user in (bob, alice)]
    with_redis(presence.hold, {lease: lease.user_id == bob.pk for lease in leases})
    client.force_login(alice)
    told = client.get("/api/v1/presence?topic=group.dashboard").json()["people"]
    assert {person["name"]: person["away"] for person in told} == {"alice": True, "bob": False}
    shown = client.get("/api/v1/dashboard").json()["people"]
    assert shown == sorted(told, key=lambda person: str(person["name"]))
    with_redis(presence.release, dict.fromkeys(leases, 0.0))


def with_redis(work: Callable[[Any], Any], leases: Any) -> None:
    async def run() -> None:
        await work(leases)
        await redis_client.close()

    asyncio.run(run())


def test_costs_few_queries_however_much_there_is(client, alice, django_assert_max_num_queries):
    for at in range(20):
        notify(to=alice, kind="orders.late", title=f"Order {at}", actor=alice)
        announcements.create(alice, f"Notice {at}")
    client.force_login(alice)
    client.get("/")
    with django_assert_max_num_queries(26):
        client.get("/")


# Jobs.


def job(owner: Any, title: str = "Stocktake", state: State = State.STARTED, **more: Any) -> Job:
    made = jobs.create(kind="tests.shop.tasks.stocktake", title=title, owner=owner)
    if state != State.QUEUED:
        jobs.claim(made.pk, 1, 60)
    if state not in {State.QUEUED, State.STARTED}:
        jobs.finish(made.pk, 1, state, **more)
    return Job.objects.get(pk=made.pk)


def at_noon(user: Any) -> None:
    """A zone in which it is some hours to both midnights."""
    east = 12 - datetime.now(UTC).hour
    user.hub_profile.time_zone = f"Etc/GMT{-east:+d}"
    user.hub_profile.save()


def test_running_jobs_are_mine_in_full_and_those_of_others_in_short(alice, bob):
    mine, theirs = job(alice, "Mine"), job(bob, "Of bob", State.QUEUED)
    job(alice, "Over", State.SUCCEEDED)
    shown = dashboard.snapshot(alice)["jobs"]
    assert [item["id"] for item in shown["running"]] == [str(mine.pk), str(theirs.pk)]
    assert shown["running"][0]["title"] == "Mine"
    assert set(shown["running"][1]) == {"id", "state", "kind", "owner", "done", "total"}
    assert shown["live"] == [str(mine.pk)]
    assert "Of bob" not in str(shown)


def test_jobs_of_today_are_counted_by_the_persons_own_day(alice):
    at_noon(alice)
    job(alice, state=State.FAILED)
    job(None, state=State.SUCCEEDED)
    old = job(alice, state=State.LOST)
    Attempt.objects.filter(job=old).update(finished_at="2026-01-01T00:00:00Z")
    today = dashboard.snapshot(alice)["jobs"]["today"]
    assert totals(today) == {"succeeded": 1, "failed": 1, "cancelled": 0, "lost": 0}
    assert len(today) == 24


def totals(today: list[dict[str, Any]]) -> dict[str, int]:
    states = ("succeeded", "failed", "cancelled", "lost")
    return {state: sum(hour[state] for hour in today) for state in states}


def test_that_nobody_takes_jobs_is_part_of_it(alice):
    assert dashboard.snapshot(alice)["jobs"]["workers_away"] is None
    Outage.objects.create(began_at=datetime(2026, 1, 1, tzinfo=UTC))
    assert dashboard.snapshot(alice)["jobs"]["workers_away"] == "2026-01-01T00:00:00.000000Z"


def test_jobs_of_mine_that_went_wrong_come_first_and_lead_to_the_job(client, alice):
    failed = job(alice, "Broken", State.FAILED, error="ValueError: no")
    lost = job(alice, "Gone", State.LOST)
    for at in range(dashboard.NEEDS_ME + 3):
        notify(to=alice, kind="orders.late", title=f"Order {at}")
    needs = dashboard.snapshot(alice)["needs_me"]
    assert [item["title"] for item in needs[:2]] == ["Gone: lost", "Broken: failed"]
    assert needs[2]["title"] == f"Order {dashboard.NEEDS_ME + 2}"
    assert len(needs) == dashboard.NEEDS_ME
    client.force_login(alice)
    page = client.get("/").content.decode()
    assert f'href="/jobs/{failed.pk}/"' in page
    assert f'href="/jobs/{lost.pk}/"' in page


def test_a_job_that_is_tried_again_needs_nobody(alice):
    lost = job(alice, "Gone", State.LOST)
    failed = job(alice, "Broken", State.FAILED, error="ValueError: no")
    jobs.retry(lost.pk)
    jobs.claim(lost.pk, 2, 60)
    assert [item["title"] for item in dashboard.needs_me(alice)] == ["Broken: failed"]
    jobs.finish(lost.pk, 2, State.SUCCEEDED)
    titles = [item["title"] for item in dashboard.needs_me(alice)]
    assert titles == ["Broken: failed", "Gone: done"]
    jobs.retry(failed.pk)
    jobs.claim(failed.pk, 2, 60)
    jobs.finish(failed.pk, 2, State.FAILED, error="ValueError: still no")
    needs = dashboard.needs_me(alice)
    assert [item["body"].split("\n")[0] for item in needs[:2]] == [
        "ValueError: still no",
        "It took under a second.",
    ]


def test_jobs_under_way_do_not_fill_the_activity(client, alice):
    job(alice, "Under way")
    job(alice, "Over", State.SUCCEEDED)
    assert [item["type"] for item in dashboard.snapshot(alice)["activity"]] == ["job.succeeded"]
    client.force_login(alice)
    assert '<span data-slot="subject">Succeeded</span>' in client.get("/").content.decode()


def apply(part: dict[str, Any], user: Any, events: list[Any]) -> dict[str, Any]:
    """What `hub-running`, `hub-today`, `hub-jobs-count` and `hub-workers` make of a snapshot and events."""
    running = {item["id"]: item for item in part["running"]}
    live, counts, away = set(part["live"]), totals(part["today"]), part["workers_away"]
    own = topics.user(user.pk)
    for event in events:
        data = event.data
        if event.type == "hub.workers_away":
            away = data["since"]
        elif event.type == "hub.workers_back":
            away = None
        if not event.type.startswith("job."):
            continue
        if event.topic == topics.DASHBOARD and data["state"] in counts:
            counts[data["state"]] += 1
        is_mine = data["owner"] is not None and data["owner"]["id"] == user.pk
        if event.topic != (own if is_mine else topics.DASHBOARD):
            continue
        is_live = data["state"] in {"queued", "started"}
        if is_live:
            running[data["id"]] = data
        else:
            running.pop(data["id"], None)
        if is_mine:
            (live.add if is_live else live.discard)(data["id"])
    return {"running": running, "live": live, "totals": counts, "away": away}


def test_a_snapshot_and_the_events_after_it_are_a_fresh_snapshot_of_jobs(alice, bob):
    at_noon(alice)
    mine, theirs = job(alice, "Mine"), job(bob, "Theirs")
    waiting, failed = job(alice, "Waiting", State.QUEUED), job(alice, "Failed", State.FAILED)
    acts: list[Callable[[], Any]] = [
        lambda: job(alice, "New", State.QUEUED),
        lambda: job(bob, "New of bob", State.QUEUED),
        lambda: job(None, "Nobody's"),
        lambda: jobs.claim(waiting.pk, 1, 60),
        lambda: jobs.finish(mine.pk, 1, State.SUCCEEDED, summary="done"),
        lambda: jobs.finish(theirs.pk, 1, State.LOST),
        lambda: jobs.retry(failed.pk),
        lambda: jobs.cancel(failed.pk, alice),
        lambda: jobs.retry(theirs.pk),
    ]
    start = dashboard.snapshot(alice)
    for act in acts:
        before = dashboard.snapshot(alice)
        act()
        for snapshot in (start, before):
            after = apply(snapshot["jobs"], alice, events_after(snapshot))
            fresh = apply(dashboard.snapshot(alice)["jobs"], alice, [])
            assert after == fresh


def events_after(snapshot: dict[str, Any]) -> list[Any]:
    found = []
    for place in snapshot["cursor"].split("~")[1:]:
        topic, _colon, offset = place.rpartition(":")
        found += log.after(topic, int(offset), 1000)
    return found


def test_the_day_of_the_api_is_the_persons_too(client, alice):
    at_noon(alice)
    client.force_login(alice)
    answer = client.get("/api/v1/dashboard").json()
    assert (
        answer["jobs"]["today"][0]["at"]
        == client.get("/").context["snapshot"]["jobs"]["today"][0]["at"]
    )
    assert len(answer["jobs"]["today"]) == 24


# Rooms.


def say(user: Any, room: Room, body: str = "Hello") -> int:
    return messages.post(user, room.pk, uuid.uuid4(), body)[0].pk


def news(user: Any) -> dict[int, tuple[int, int]]:
    shown = my_rooms.with_news(dashboard.snapshot(user)["rooms"])
    return {room["id"]: (room["unread"], room["mentions"]) for room in shown}


def test_rooms_with_news_are_shown_those_that_say_something_to_me_first(client, alice, bob):
    loud, named, muted, calm = (
        rooms.create(bob, "closed", name, members=[alice])
        for name in ("Loud", "Named", "Muted", "Calm")
    )
    direct, _is_new = rooms.direct(bob, [alice])
    for room in (direct, loud, loud, muted, calm):
        say(bob, room)
    say(bob, named, "@alice?")
    say(alice, calm, "I see")
    marks.read_messages(alice, calm.pk, 2**60)
    rooms.involve(muted, alice, Involvement.NOTHING)
    client.force_login(alice)
    shown = client.get("/").context["rooms_with_news"]
    assert [room["title"] for room in shown] == ["Named", "bob", "Loud"]
    assert [(room["unread"], room["mentions"]) for room in shown] == [(1, 1), (1, 0), (2, 0)]


def apply_to_rooms(shown: list[dict[str, Any]], user: Any, events: list[Any]) -> dict[int, Any]:
    """What `rooms.js` makes of a snapshot and events: `{room: (unread, mentions)}`. It asks the hub for new rooms."""
    known = {room["id"]: dict(room) for room in shown}
    own = topics.user(user.pk)
    for event in sorted(events, key=lambda event: event.at):
        data = event.data
        if event.topic == own and event.type == "room.added":
            room = Room.objects.filter(pk=data["id"], deleted_at=None).first()
            if room is not None:
                known[room.pk] = rooms.item(room, user)
        elif event.topic == own and event.type == "room.removed":
            known.pop(data["id"], None)
        elif event.topic == own and event.type in {"room.read", "room.involved"}:
            known.get(data["id"], {}).update(data)
        elif event.topic.startswith("room.") and event.type.startswith("message."):
            count(known.get(data["room"]), data, event.type, user.pk)
    return {
        pk: (room["unread"], room["mentions"])
        for pk, room in known.items()
        if room["unread"] and room["involvement"] != Involvement.NOTHING
    }


def count(room: dict[str, Any] | None, message: dict[str, Any], kind: str, me: int) -> None:
    if room is None or message["author"]["id"] == me or message["id"] <= room["read_up_to"]:
        return
    is_new = kind == "message.created"
    if is_new and message["id"] <= room["last_message"]:
        return  # it was counted when the hub was asked
    named = me in message.get("mentioned_before", [])
    room["mentions"] += (me in message["mentions"]) - named
    room["unread"] += is_new - message["deleted"]
    room["last_message"] = max(room["last_message"], message["id"])


def test_a_snapshot_and_the_events_after_it_are_a_fresh_snapshot_of_rooms(alice, bob):
    here, there, quiet = (
        rooms.create(bob, "closed", name, members=[alice]) for name in ("Here", "There", "Quiet")
    )
    direct, _is_new = rooms.direct(bob, [alice])
    for room in (here, there, quiet, direct):
        say(bob, room)
    first, named = say(bob, here), say(bob, here, "@alice")
    acts: list[Callable[[], Any]] = [
        lambda: say(bob, here, "@alice once more"),
        lambda: say(alice, here, "Mine, @bob"),
        lambda: messages.edit(bob, here.pk, first, "Now for @alice"),
        lambda: messages.edit(bob, here.pk, first, "For nobody"),
        lambda: messages.delete(bob, here.pk, named),
        lambda: marks.read_messages(alice, there.pk, 2**60),
        lambda: say(bob, there, "After that"),
        lambda: marks.read_messages(alice, here.pk, first),
        lambda: rooms.edit(there, bob, archived=True),
        lambda: rooms.involve(quiet, alice, Involvement.NOTHING),
        lambda: say(bob, quiet),
        lambda: rooms.involve(quiet, alice, Involvement.EVERYTHING),
        lambda: rooms.remove(here, alice, by=bob),
        lambda: say(bob, here, "Behind her back, @alice"),
        lambda: rooms.invite(here, [alice], by=bob),
        lambda: rooms.delete(quiet),
        lambda: say(bob, rooms.create(bob, "open", "New", members=[alice])),
    ]
    for act in acts:
        before = dashboard.snapshot(alice)
        act()
        assert apply_to_rooms(before["rooms"], alice, events_after(before)) == news(alice)
