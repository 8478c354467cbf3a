"""What is asked for every event, page or second comes to its rows by an index that leads to few, on either database.

Rooms have more of this in `tests/chat/test_queries.py`, jobs under way in `tests/tasks/test_queries.py`.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.utils import timezone

from accounts import audience, authenticate, idempotency
from accounts.models import Answer, ApiKey, Profile
from chat import messages, pruning, rooms
from chat.messages import Draft
from chat.models import Membership, Mention, Message, Room
from events import log, publish, sequence, topics
from events.models import Event, Topic
from notifications import inbox
from notifications.models import Inbox, Notification
from tasks import files, jobs, queue, watchdog
from tasks.models import Attempt, File, FileChunk, Job, LogChunk, State
from tests.live import session_of
from tests.plans import WHOLE, Way, ways
from web import context, dashboard, my_rooms

pytestmark = pytest.mark.django_db

MANY: Final = 300
FEW: Final = ("auth_group", "hub_tasks_outage", "hub_events_epoch", "hub_notifications_letter")
"""Tables that hold few rows on any hub."""
FOR_ALL: Final = {("prune the log", "hub_events_topic")}
"""Every ten minutes, and as many rows as there are topics."""
LEADING: Final = {
    "catch up": "(topic, offset)",
    "newest events": "(topic, offset)",
    "number what was left": "hub_event_pending",
    "inbox": "hub_notification_inbox",
    "inbox, unread": "hub_notification_unread",
    "mark all": "hub_notification_unread",
    "needs me": "hub_notification_unread",
    "jobs under way": "hub_job_live_of_owner",
    "own jobs under way": "hub_job_live_of_owner",
}
"""Where another index might lead to too many rows."""
DROPPED: Final = {
    "number what was left": "hub_event_pending",
    "prune inboxes": "hub_notification_age",
    "prune answers": "hub_answer_created_at",
    "prune jobs": "hub_job_finished",
    "prune rooms": "hub_room_deleted",
}


@dataclass(frozen=True)
class Hub:
    """One that has been in use for long."""

    alice: User
    room: Room
    job: Job
    session: str
    key: str

    @property
    def topics(self) -> list[str]:
        own, room, job = topics.user(self.alice.pk), topics.room(self.room.pk), self.job.pk
        return [own, topics.DASHBOARD, *map(topics.team, _teams(self.alice)), room, f"job.{job}"]


@pytest.fixture(params=["counted", "not counted"] if connection.vendor == "sqlite" else ["counted"])
def hub(request: pytest.FixtureRequest, alice: User, bob: User) -> Hub:
    now, old = timezone.now(), timezone.now() - timedelta(days=20)
    people = User.objects.bulk_create(User(username=f"person{n:04}") for n in range(MANY))
    _fill_accounts(people, now)
    _fill_log(people, old)
    _fill_inboxes(alice, people, old)
    team = Group.objects.create(name="Night")
    team.user_set.add(alice, *people[:50])
    made = Hub(
        alice,
        _fill_rooms(alice, bob, people),
        _fill_jobs(alice, people, old),
        session_of(alice),
        authenticate.make_key(alice, "mine")[1],
    )
    Event.objects.filter(
        offset=None
    ).delete()  # what setting it up has told; where there are commits, all is numbered
    if request.param == "counted":  # SQLite mostly does without statistics, PostgreSQL never does
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")
    return made


def _teams(user: User) -> list[int]:
    return list(user.groups.values_list("pk", flat=True))


def _fill_accounts(people: list[User], now: datetime) -> None:
    Session.objects.bulk_create(
        Session(session_key=f"{user.pk:032}", session_data="", expire_date=now) for user in people
    )
    Profile.objects.bulk_create(Profile(user=user) for user in people)
    ApiKey.objects.bulk_create(
        ApiKey(user=user, name="other", hash=f"{user.pk:064}") for user in people
    )
    Answer.objects.bulk_create(
        Answer(user=user, route="events", key=str(user.pk), body={}) for user in people
    )
    team = Group.objects.create(name="Day")
    User.groups.through.objects.bulk_create(
        User.groups.through(user_id=user.pk, group_id=team.pk) for user in people
    )


def _fill_log(people: list[User], old: datetime) -> None:
    Topic.objects.bulk_create(Topic(name=topics.user(user.pk), head=2) for user in people)
    Topic.objects.create(name=topics.DASHBOARD, head=MANY)
    Event.objects.bulk_create(
        Event(topic=topics.user(user.pk), offset=n, type="a.b", data="{}", at=old)
        for user in people
        for n in (1, 2)
    )
    Event.objects.bulk_create(
        Event(topic=topics.DASHBOARD, offset=n, type="a.b", data='{"title":"x"}', at=old)
        for n in range(1, MANY + 1)
    )


def _fill_inboxes(alice: User, people: list[User], old: datetime) -> None:
    Notification.objects.bulk_create(
        Notification(recipient=user, kind="k", title="t", read_at=read_at, created_at=old)
        for user in (alice, *people)
        for read_at in (old, old, None)
    )
    Inbox.objects.bulk_create(Inbox(user=user, unread=1) for user in people)
    Inbox.objects.update_or_create(user=alice, defaults={"unread": 1})


def _fill_jobs(alice: User, people: list[User], old: datetime) -> Job:
    past = {"queued_at": old, "started_at": old, "finished_at": old, "state": State.SUCCEEDED}
    over = Job.objects.bulk_create(
        Job(id=uuid.uuid4(), owner=owner, kind="shop.count", title="t", created_at=old, **past)
        for owner in (alice, *people)
    )
    Attempt.objects.bulk_create(Attempt(job=job, number=1, **past) for job in over)
    LogChunk.objects.bulk_create(
        LogChunk(job=job, attempt=1, first=1, lines=1, text="t", at=old) for job in over
    )
    later = timezone.now() + timedelta(days=1)
    kept = File.objects.bulk_create(
        File(job=job, role="result", name="n", type="t", created_at=old, expires_at=later)
        for job in over
    )
    FileChunk.objects.bulk_create(FileChunk(file=file, place=0, data=b"") for file in kept)
    jobs.create(kind="shop.count", title="t", owner=alice)
    job = jobs.create(kind="shop.count", title="t", owner=alice)
    jobs.claim(job.pk, 1, 15)
    return job


def _fill_rooms(alice: User, bob: User, people: list[User]) -> Room:
    room = rooms.create(alice, "closed", "Night", members=[bob])
    others = Room.objects.bulk_create(Room(kind="closed", name=f"Room {n}") for n in range(MANY))
    Membership.objects.bulk_create(
        Membership(room=other, user=user) for other, user in zip(others, people, strict=True)
    )
    said = Message.objects.bulk_create(
        Message(room=where, author=bob, client_id=uuid.uuid4(), body="b", html="b")
        for where in (*others, *others, *[room] * 200)
    )
    Mention.objects.bulk_create(
        Mention(message=one, room=one.room, user=user)
        for one, user in zip(said, people, strict=False)
    )
    Mention.objects.bulk_create(Mention(message=one, room=room, user=alice) for one in said[-9:])
    Room.objects.filter(pk=room.pk).update(last_message=said[-1].pk)
    Membership.objects.filter(room=room, user=alice).update(read_up_to=said[-5].pk)
    return room


def acts(hub: Hub) -> dict[str, Callable[[], Any]]:
    alice, room = hub.alice, hub.room
    long_ago = timezone.now() - timedelta(days=300)
    both = [(None, hub.session), (f"Bearer {hub.key}", None)]
    credentials = [one for who in both if (one := authenticate.from_request_headers(*who))]
    heads = log.heads(hub.topics)
    middle = Message.objects.latest("pk").pk - 100
    pairs = [(alice.pk, name) for name in hub.topics]
    mine = [(alice.pk, row.pk) for row in inbox.page(alice).notifications]
    return {
        "number": lambda: sequence.flush([topics.DASHBOARD]),
        "number what was left": sequence.flush_left_behind,
        "is anything pending": lambda: sequence.flush_pending([topics.DASHBOARD]),
        "heads": lambda: log.reach(hub.topics),
        "catch up": lambda: log.after(topics.DASHBOARD, MANY - 100, 200),
        "newest events": lambda: log.newest(hub.topics, 40),
        "events a minute": lambda: log.per_minute(heads),
        "prune the log": lambda: log.prune(30, 10 * MANY),
        "drop events": lambda: log._drop(topics.DASHBOARD, 10),
        "inbox": lambda: inbox.page(alice),
        "inbox, further down": lambda: inbox.page(alice, before=10**6),
        "inbox, unread": lambda: inbox.page(alice, "unread"),
        "inbox, read": lambda: inbox.page(alice, "read"),
        "unread": lambda: inbox.unread(alice),
        "mark all": lambda: inbox.mark_all(alice, 10**6),
        "prune inboxes": lambda: inbox.prune(long_ago),
        "remove from inboxes": lambda: inbox.remove(mine),
        "needs me": lambda: dashboard.needs_me(alice),
        "post": lambda: messages.post_many([Draft(alice.pk, room.pk, uuid.uuid4(), "hello")]),
        "newest messages": lambda: messages.page(room),
        "older messages": lambda: messages.page(room, before=middle),
        "newer messages": lambda: messages.page(room, after=middle),
        "messages around": lambda: messages.around(room, middle),
        "first unread": lambda: messages.first_unread(room, alice, middle),
        "rooms with their counts": lambda: my_rooms.mine(alice),
        "rooms heard": lambda: my_rooms.heard(alice),
        "unread in rooms": lambda: rooms.totals(alice),
        "prune rooms": pruning.prune,
        "take a room away": lambda: pruning._take_away(room.pk),
        "jobs": lambda: jobs.page(alice),
        "own jobs": lambda: jobs.page(alice, own=True),
        "older jobs": lambda: jobs.page(alice, before=hub.job.pk),
        "jobs under way": lambda: jobs.running(alice, 20),
        "own jobs under way": lambda: context.live_jobs(alice),
        "jobs of today": lambda: jobs.today(timezone.get_current_timezone(), MANY),
        "prune jobs": lambda: jobs.prune(long_ago),
        "prune files": files.prune,
        "jobs that fell silent": watchdog.end_silent,
        "jobs to send": queue.send_left_behind,
        "answered before": lambda: idempotency.stored(alice.pk, "events", "x"),
        "prune answers": idempotency.prune,
        "who asks, by sessions": lambda: authenticate.by_sessions([hub.session]),
        "who asks, by key": lambda: authenticate.identify(f"Bearer {hub.key}", None),
        "still valid": lambda: authenticate.still_valid(credentials),
        "may read": lambda: audience.allowed(pairs),
        "reads unasked": lambda: audience.default_topics_of([alice.pk]),
    }


def look(act: Callable[[], Any]) -> list[Way]:
    """What it changes is undone, so that all acts find the same hub."""
    with transaction.atomic():
        publish(topics.DASHBOARD, "a.b", {})
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                # The few thousand rows of a test are soonest read whole; a Seq Scan is now one for want of an index.
                for way in ("seqscan", "hashjoin", "mergejoin"):
                    cursor.execute(f"SET LOCAL enable_{way} = off")
        found = ways(act)
        transaction.set_rollback(True)
    return [way for way in found if way.table not in FEW]


def whole(found: list[Way]) -> list[Way]:
    return [way for way in found if way.by.startswith(WHOLE)]


def test_no_table_is_read_whole(hub: Hub) -> None:
    found = {name: look(act) for name, act in acts(hub).items()}
    assert [name for name, each in found.items() if not each] == []
    read = [(name, way) for name, each in found.items() for way in whole(each)]
    assert [one for one in read if (one[0], one[1].table) not in FOR_ALL] == []
    led = {name: {way.by for way in found[name]} for name in LEADING}
    assert {name: by for name, by in led.items() if LEADING[name] not in by} == {}


def test_an_index_that_is_gone_is_missed(hub: Hub) -> None:
    """The test above could fail."""
    with connection.cursor() as cursor:
        for name in DROPPED.values():
            cursor.execute(f"DROP INDEX {name}")
    for name in DROPPED:
        assert whole(look(acts(hub)[name])), name
