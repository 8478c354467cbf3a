from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import OperationalError
from django.test import Client

from accounts import authenticate
from events import log, topics
from notifications import announcements, api, inbox, notify, notifying
from notifications.models import Announcement, Notification

pytestmark = pytest.mark.django_db(transaction=True)

Call = Callable[..., tuple[int, Any]]
NASTY = "<script>alert('x')</script>"


def calls(user: User, *scopes: str) -> Call:
    """The API as this person's script has it: `(status, JSON)`."""
    _, secret = authenticate.make_key(user, "test", scopes or None)
    client = Client(headers={"Authorization": f"Bearer {secret}"})

    def call(method: str, path: str, body: Any = None) -> tuple[int, Any]:
        answer = client.generic(
            method,
            f"/api/v1{path}",
            b"" if body is None else json.dumps(body).encode(),
            content_type="application/json",
        )
        if answer.content:
            assert answer.headers["Content-Type"].startswith("application/json")
        return answer.status_code, json.loads(answer.content) if answer.content else None

    return call


@pytest.fixture
def announcer(alice: User) -> User:
    alice.user_permissions.add(Permission.objects.get(codename="announce"))
    return User.objects.get(pk=alice.pk)


def letter(**parts: Any) -> dict[str, Any]:
    return {"to": {"users": ["bob"]}, "kind": "orders.late", "title": "Order 7 is late", **parts}


# --- POST /notifications -------------------------------------------------------------------------------------------


def test_anybody_may_notify_named_people(charlie, bob, alice):
    status, answer = calls(charlie)(
        "POST",
        "/notifications",
        letter(to={"users": ["bob", "alice", "bob"]}, body="b", url="/o/7/", level="warning"),
    )
    assert (status, answer) == (201, {"notifications": 2})
    (item,) = inbox.page(bob).items
    assert {**item, "id": 0, "at": ""} == {
        "id": 0,
        "kind": "orders.late",
        "title": "Order 7 is late",
        "body": "b",
        "url": "/o/7/",
        "level": "warning",
        "actor": {"id": charlie.pk, "name": "charlie", "username": "charlie"},
        "read": False,
        "at": "",
    }


def test_the_same_key_again_changes_nothing(charlie, bob, alice):
    call = calls(charlie)
    assert call("POST", "/notifications", letter(key="k1")) == (201, {"notifications": 1})
    again = letter(key="k1", title="changed", to={"users": ["bob", "alice"]})
    assert call("POST", "/notifications", again) == (200, {"notifications": 1})
    assert [row.title for row in Notification.objects.all()] == ["Order 7 is late"]
    assert calls(alice)("POST", "/notifications", letter(key="k1"))[0] == 201  # her own k1
    assert len(log.after(topics.user(bob.pk), 0, 10)) == 2


def test_what_a_crash_cut_short_is_completed_by_the_same_key(charlie, bob, alice, monkeypatch):
    call = calls(charlie)
    message = letter(key="k", to={"users": ["alice", "bob"]})

    def crash(*_: Any) -> Any:
        raise RuntimeError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(notifying, "deliver", crash)
        assert call("POST", "/notifications", message)[0] == 500
    assert Notification.objects.count() == 0
    assert call("POST", "/notifications", message) == (200, {"notifications": 2})
    assert call("POST", "/notifications", message) == (200, {"notifications": 2})
    assert Notification.objects.count() == 2


@pytest.fixture
def crowd(announcer: User) -> int:
    """More people than one transaction tells; how many there are."""
    count = notifying.PEOPLE_PER_TRANSACTION * 2
    User.objects.bulk_create([User(username=f"crowd-{n}") for n in range(count)])
    return count + 1


@pytest.fixture
def fails_half_way(monkeypatch):
    """The database goes away between the first people and the next, once."""
    store, calls = notifying._store, iter([False, True])

    def fails_later(*args: Any) -> int:
        if next(calls, False):
            raise OperationalError("gone")
        return store(*args)

    monkeypatch.setattr(notifying, "_store", fails_later)


def everyone(**parts: Any) -> dict[str, Any]:
    return letter(to={"everyone": True}, **parts)


@pytest.mark.usefixtures("fails_half_way")
def test_a_crowd_is_told_whole_or_not_at_all_without_a_key(announcer, crowd):
    answer = calls(announcer)("POST", "/notifications", everyone())
    assert answer == (201, {"notifications": crowd})
    notifying.deliver_left_behind()
    told = Notification.objects.values_list("recipient", flat=True)
    assert len(told) == len(set(told)) == crowd


@pytest.mark.usefixtures("fails_half_way")
def test_a_crowd_that_was_told_in_part_is_completed_by_the_same_key(announcer, crowd):
    call = calls(announcer)
    status, answer = call("POST", "/notifications", everyone(key="k"))
    assert (status, answer["error"]["code"]) == (503, "unavailable")
    assert "may or may not be stored" in answer["error"]["detail"]
    assert 0 < Notification.objects.count() < crowd
    assert call("POST", "/notifications", everyone(key="k")) == (200, {"notifications": crowd})
    assert Notification.objects.count() == crowd


@pytest.mark.parametrize("to", [{"teams": ["night"]}, {"everyone": True}])
def test_teams_and_everyone_need_the_permission(announcer, bob, charlie, to):
    Group.objects.create(name="night").user_set.add(bob)
    assert calls(charlie)("POST", "/notifications", letter(to=to))[0] == 403
    assert Notification.objects.count() == 0
    status, answer = calls(announcer)("POST", "/notifications", letter(to=to))
    assert (status, answer) == (201, {"notifications": 1 if "teams" in to else 3})


def test_names_that_nobody_has_are_named(announcer, bob):
    to = {"users": ["bob", "zed", NASTY], "teams": ["nowhere"]}
    status, answer = calls(announcer)("POST", "/notifications", letter(to=to))
    assert status == 422
    assert answer["error"]["code"] == "invalid"
    assert answer["error"]["fields"] == {
        "to.users": f"unknown: {NASTY}, zed",
        "to.teams": "unknown: nowhere",
    }
    assert Notification.objects.count() == 0


def test_somebody_who_cannot_be_told_is_not_counted(charlie, bob, alice):
    User.objects.filter(pk=bob.pk).update(is_active=False)
    message = letter(to={"users": ["alice", "bob"]})
    assert calls(charlie)("POST", "/notifications", message) == (201, {"notifications": 1})
    assert calls(charlie)("POST", "/notifications", {**message, "key": "k"})[1] == {
        "notifications": 1
    }


@pytest.mark.parametrize(
    ("parts", "field"),
    [
        ({"title": ""}, "title"),
        ({"title": "t" * 201}, "title"),
        ({"title": 7}, "title"),
        ({"title": None}, "title"),
        ({"body": "b" * 6001}, "body"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"url": "//evil.example/"}, "url"),
        ({"level": "loud"}, "level"),
        ({"kind": NASTY}, "kind"),
        ({"key": ""}, "key"),
        ({"key": "k" * 201}, "key"),
        ({"to": {}}, "to"),
        ({"to": {"users": []}}, "to"),
        ({"to": "bob"}, "to"),
        ({"to": {"users": "bob"}}, "to.users"),
        ({"to": {"everyone": "perhaps"}}, "to.everyone"),
    ],
)
@pytest.mark.parametrize("key", [{}, {"key": "k"}])
def test_the_field_that_cannot_be_accepted_is_named(charlie, bob, parts, field, key):
    status, answer = calls(charlie)("POST", "/notifications", letter(**{**key, **parts}))
    assert status == 422
    assert list(answer["error"]["fields"]) == [field]
    assert Notification.objects.count() == 0
    if key:  # a refused attempt does not use up its key
        assert calls(charlie)("POST", "/notifications", letter(**key))[0] == 201


def test_a_flood_is_slowed(charlie, bob, monkeypatch):
    monkeypatch.setattr(api, "NOTIFICATIONS_PER_MINUTE", 3)
    call = calls(charlie)
    answers = [call("POST", "/notifications", letter())[0] for _ in range(5)]
    assert answers == [201, 201, 201, 429, 429]
    assert Notification.objects.count() == 3


def test_naming_everybody_is_no_way_round_the_permission(charlie, announcer, bob):
    names = [f"person-{n}" for n in range(api.NAMED_MOST + 1)]
    User.objects.bulk_create(User(username=name) for name in names)
    everybody = letter(to={"users": names})
    status, answer = calls(charlie)("POST", "/notifications", everybody)
    assert status == 422
    assert answer["error"]["fields"] == {"to.users": "name at most 100"}
    assert Notification.objects.count() == 0
    some = letter(to={"users": [*names[1:], names[1]]})
    assert calls(charlie)("POST", "/notifications", some) == (201, {"notifications": 100})
    assert calls(announcer)("POST", "/notifications", everybody) == (201, {"notifications": 101})


def test_everybody_who_is_named_counts_against_the_rate(charlie, alice, bob, monkeypatch):
    monkeypatch.setattr(api, "NOTIFICATIONS_PER_MINUTE", 5)
    call = calls(charlie)
    two = letter(to={"users": ["alice", "bob"]})
    assert [call("POST", "/notifications", two)[0] for _ in range(3)] == [201, 201, 429]
    assert Notification.objects.count() == 4


def test_marking_what_is_marked_says_nothing_and_toggling_is_slowed(bob, monkeypatch):
    notify(to=bob, kind="k", title="t")
    (row,) = inbox.page(bob).notifications
    monkeypatch.setattr(api, "MARKS_PER_MINUTE", 5)
    call = calls(bob)
    answers = [call("PATCH", f"/inbox/{row.pk}", {"read": True}) for _ in range(3)]
    assert answers == [(200, {"unread": 0})] * 3
    assert [event.type for event in log.after(topics.user(bob.pk), 0, 10)] == [
        "notification.created",
        "notification.changed",
    ]
    toggles = [call("PATCH", f"/inbox/{row.pk}", {"read": n % 2 == 1})[0] for n in range(3)]
    assert toggles == [200, 200, 429]
    assert call("POST", "/inbox/read", {"up_to": row.pk})[0] == 429


def test_a_topic_of_announcements_has_a_snapshot_for_who_may_read_it(
    announcer, bob, charlie, admin
):
    team = Group.objects.create(name="night")
    team.user_set.add(bob)
    announcements.create(announcer, "for all")
    announcements.create(admin, "for the night", team=team)
    path = f"/announcements?topic={topics.team(team.pk)}"
    for reader in (bob, admin):
        status, answer = calls(reader)("GET", path)
        assert (status, [item["title"] for item in answer["items"]]) == (200, ["for the night"])
    for stranger in (announcer, charlie):
        assert calls(stranger)("GET", path)[0] == 403
    assert calls(charlie)("GET", "/announcements?topic=team.999999")[0] == 403
    assert calls(charlie)("GET", "/announcements?topic=nonsense")[0] == 403
    assert calls(bob)("GET", "/announcements?topic=group.dashboard")[1]["items"] == []


def test_each_route_needs_its_scope(announcer, bob):
    read, publish = calls(announcer, "read"), calls(announcer, "publish")
    assert read("POST", "/notifications", letter())[0] == 403
    assert read("POST", "/announcements", {"title": "t"})[0] == 403
    assert publish("GET", "/inbox")[0] == 403
    assert publish("GET", "/announcements")[0] == 403
    assert read("GET", "/inbox")[0] == read("GET", "/announcements")[0] == 200
    assert publish("POST", "/notifications", letter())[0] == 201
    stranger = Client().get("/api/v1/inbox")
    assert stranger.status_code == 401


# --- The inbox -----------------------------------------------------------------------------------------------------


def test_the_inbox_is_a_snapshot_with_cursor(alice, bob):
    for n in range(3):
        notify(to=[alice, bob], kind="k", title=f"{NASTY} {n}")
    call = calls(alice)
    status, page = call("GET", "/inbox?limit=2")
    assert status == 200
    assert [item["title"] for item in page["items"]] == [f"{NASTY} 2", f"{NASTY} 1"]
    assert page["unread"] == 3
    assert page["cursor"] == log.cursor([topics.user(alice.pk)])
    assert page["next"] == page["items"][-1]["id"]
    _, following = call("GET", f"/inbox?limit=2&before={page['next']}")
    assert [item["title"] for item in following["items"]] == [f"{NASTY} 0"]
    assert following["next"] is None
    assert call("GET", "/me")[1]["unread"] == 3


def test_markup_leaves_the_api_as_json_text_only(alice):
    notify(to=alice, kind="k", title=NASTY, body=NASTY)
    _, secret = authenticate.make_key(alice, "test")
    answer = Client(headers={"Authorization": f"Bearer {secret}"}).get("/api/v1/inbox")
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_marking_answers_with_the_unread_count(alice):
    for n in range(3):
        notify(to=alice, kind="k", title=f"{n}")
    ids = [row.pk for row in inbox.page(alice).notifications]
    call = calls(alice)
    assert call("PATCH", f"/inbox/{ids[1]}", {"read": True}) == (200, {"unread": 2})
    assert call("PATCH", f"/inbox/{ids[1]}", {"read": True}) == (200, {"unread": 2})
    assert call("PATCH", f"/inbox/{ids[1]}", {"read": False}) == (200, {"unread": 3})
    assert call("POST", "/inbox/read", {"up_to": ids[1]}) == (200, {"unread": 1})
    assert [i["id"] for i in call("GET", "/inbox?state=unread")[1]["items"]] == [ids[0]]
    assert [i["id"] for i in call("GET", "/inbox?state=read")[1]["items"]] == ids[1:]


def test_a_foreign_and_an_absent_notification_look_the_same(alice, bob):
    notify(to=alice, kind="k", title="hers")
    key = Notification.objects.get().pk
    call = calls(bob)
    foreign = call("PATCH", f"/inbox/{key}", {"read": True})
    absent = call("PATCH", f"/inbox/{key + 999}", {"read": True})
    assert foreign == absent
    assert foreign[0] == 404
    for nowhere in ("0", "99999999999999999999999", "abc", "-1"):
        assert call("PATCH", f"/inbox/{nowhere}", {"read": True})[0] in {404, 422}


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/inbox?limit=0", None),
        ("GET", "/inbox?limit=201", None),
        ("GET", "/inbox?limit=x", None),
        ("GET", "/inbox?before=0", None),
        ("GET", f"/inbox?before={2**63}", None),
        ("GET", "/inbox?state=lost", None),
        ("POST", "/inbox/read", {"up_to": -1}),
        ("POST", "/inbox/read", {"up_to": 2**63}),
        ("POST", "/inbox/read", {"up_to": "all"}),
        ("POST", "/inbox/read", {}),
        ("PATCH", "/inbox/1", {}),
        ("PATCH", "/inbox/1", {"read": "maybe"}),
        ("GET", "/announcements?limit=101", None),
        ("GET", "/announcements?before=-1", None),
    ],
)
def test_what_is_out_of_bounds_is_refused(alice, method, path, body):
    status, answer = calls(alice)(method, path, body)
    assert status == 422
    assert answer["error"]["fields"]


# --- Announcements -------------------------------------------------------------------------------------------------


def test_an_announcement_from_its_writing_to_its_end(announcer, bob):
    call = calls(announcer)
    status, item = call("POST", "/announcements", {"title": NASTY, "body": "b", "key": "k"})
    assert status == 201
    assert (item["title"], item["level"], item["team"], item["edited_at"]) == (
        NASTY,
        "info",
        None,
        None,
    )
    assert call("POST", "/announcements", {"title": "other", "key": "k"}) == (201, item)
    _, page = calls(bob)("GET", "/announcements")
    assert page["items"] == [item]
    assert page["cursor"] == log.cursor([topics.ANNOUNCEMENTS])
    status, edited = call("PATCH", f"/announcements/{item['id']}", {"body": "changed"})
    assert (status, edited["title"], edited["body"]) == (200, NASTY, "changed")
    assert edited["edited_at"]
    assert call("DELETE", f"/announcements/{item['id']}") == (204, None)
    assert call("DELETE", f"/announcements/{item['id']}")[0] == 404
    assert [event.type for event in log.after(topics.ANNOUNCEMENTS, 0, 10)] == [
        "announcement.created",
        "announcement.updated",
        "announcement.deleted",
    ]


def test_a_team_is_named_by_its_name_or_id(announcer, bob, charlie):
    team = Group.objects.create(name="night")
    team.user_set.add(bob)
    call = calls(announcer)
    shown = {"id": team.pk, "name": "night"}
    _, by_name = call("POST", "/announcements", {"title": "t", "team": "night"})
    _, by_id = call("POST", "/announcements", {"title": "t", "team": team.pk})
    assert by_name["team"] == by_id["team"] == shown
    assert len(calls(bob)("GET", "/announcements")[1]["items"]) == 2
    assert calls(charlie)("GET", "/announcements")[1]["items"] == []
    status, answer = call("POST", "/announcements", {"title": "t", "team": "nowhere"})
    assert (status, list(answer["error"]["fields"])) == (422, ["team"])
    _, moved = call("PATCH", f"/announcements/{by_id['id']}", {"team": None})
    assert moved["team"] is None


def test_only_who_may_announce_writes(bob, alice):
    made = announcements.create(alice, "standing")
    call = calls(bob)
    assert call("POST", "/announcements", {"title": "t"})[0] == 403
    assert call("PATCH", f"/announcements/{made.pk}", {"title": "t"})[0] == 403
    assert call("DELETE", f"/announcements/{made.pk}")[0] == 403
    assert call("DELETE", f"/announcements/{made.pk + 99}")[0] == 403
    assert Announcement.objects.get().title == "standing"


def test_an_announcement_one_cannot_see_is_absent(announcer, bob):
    team = Group.objects.create(name="night")
    hidden = announcements.create(bob, "for the night", team=team)
    call = calls(announcer)
    assert call("PATCH", f"/announcements/{hidden.pk}", {"title": "t"})[0] == 404
    assert call("DELETE", f"/announcements/{hidden.pk}")[0] == 404


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "title"),
        ({"title": " "}, "title"),
        ({"title": None}, "title"),
        ({"title": "t", "body": "b" * 6001}, "body"),
        ({"title": "t", "level": "loud"}, "level"),
    ],
)
def test_a_bad_announcement_names_its_field(announcer, body, field):
    call = calls(announcer)
    status, answer = call("POST", "/announcements", body)
    assert status == 422
    assert field in answer["error"]["fields"]
    made = announcements.create(announcer, "good")
    if body:
        status, answer = call("PATCH", f"/announcements/{made.pk}", body)
        assert status == 422
        assert field in answer["error"]["fields"]
    assert Announcement.objects.get().title == "good"
