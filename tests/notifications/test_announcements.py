from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from events import log, publish, publish_many, topics
from notifications import activity, announcements
from notifications.errors import InvalidAnnouncement
from notifications.models import Announcement

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def night(alice: User, bob: User) -> Group:
    """alice and bob are in it, charlie is not."""
    team = Group.objects.create(name="night shift")
    team.user_set.add(alice, bob)
    return team


@pytest.fixture
def announcer(alice: User) -> User:
    alice.user_permissions.add(Permission.objects.get(codename="announce"))
    return User.objects.get(pk=alice.pk)


def said(topic: str) -> list[tuple[str, Any]]:
    return [(event.type, event.data) for event in log.after(topic, 0, 100)]


def positions(cursor: str) -> dict[str, int]:
    return {
        name: int(offset)
        for name, _, offset in (part.rpartition(":") for part in cursor.split("~")[1:])
    }


def topic_of(item: dict[str, Any]) -> str:
    return topics.ANNOUNCEMENTS if item["team"] is None else topics.team(item["team"]["id"])


def apply(snapshot: dict[str, Any]) -> list[dict[str, Any]]:
    found = positions(snapshot["cursor"]).items()
    events = [event for topic, offset in found for event in log.after(topic, offset, 1000)]
    return applied(snapshot["items"], events)


def applied(shown: Iterable[dict[str, Any]], events: Iterable[Any]) -> list[dict[str, Any]]:
    """What a client makes of it. Each topic has its own items: across topics there is no order.

    One that moved is deleted here and created there, in whichever order the two arrive.
    """
    items = {(topic_of(item), item["id"]): item for item in shown}
    for event in events:
        if event.type == "announcement.deleted":
            items.pop((event.topic, event.data["id"]), None)
        elif event.type.startswith("announcement."):
            items[event.topic, event.data["id"]] = event.data
    return sorted(items.values(), key=lambda item: item["id"], reverse=True)


def test_is_created_edited_and_deleted_for_everybody(alice):
    made = announcements.create(alice, "Water's off", body="until noon", level="warning")
    item = announcements.item(made)
    assert item == {
        "id": made.pk,
        "title": "Water's off",
        "body": "until noon",
        "level": "warning",
        "team": None,
        "author": {"id": alice.pk, "name": "alice", "username": "alice"},
        "at": item["at"],
        "edited_at": None,
    }
    edited = announcements.item(announcements.edit(made, title="Water's back"))
    assert edited == {**item, "title": "Water's back", "edited_at": edited["edited_at"]}
    assert edited["edited_at"] > item["at"]
    announcements.delete(made)
    announcements.delete(made)
    assert said(topics.ANNOUNCEMENTS) == [
        ("announcement.created", item),
        ("announcement.updated", edited),
        ("announcement.deleted", {"id": made.pk}),
    ]


@pytest.mark.parametrize("changes", [{}, {"title": "Water is back", "team": None}])
def test_an_edit_that_changes_nothing_is_no_event(
    announcer: User, client: Client, changes: dict[str, Any]
) -> None:
    made = announcements.create(announcer, "Water is back")
    before = said(topics.ANNOUNCEMENTS)
    client.force_login(announcer)
    answer = client.patch(
        f"/api/v1/announcements/{made.pk}",
        changes,
        content_type="application/json",
        headers={"origin": "http://testserver"},
    )
    assert (answer.status_code, answer.json()["edited_at"]) == (200, None)
    assert said(topics.ANNOUNCEMENTS) == before


def test_one_for_a_team_is_seen_by_that_team_alone(alice, bob, charlie, admin, night):
    announcements.create(alice, "for all")
    announcements.create(alice, "for the night", team=night)
    titles = {
        user.username: [row.title for row in announcements.visible_to(user).announcements]
        for user in (alice, bob, charlie, admin)
    }
    assert titles == {
        "alice": ["for the night", "for all"],
        "bob": ["for the night", "for all"],
        "charlie": ["for all"],
        "admin": ["for all"],
    }
    assert [kind for kind, _ in said(topics.team(night.pk))] == ["announcement.created"]
    assert len(said(topics.ANNOUNCEMENTS)) == 1


def test_changing_the_team_takes_it_from_the_old_readers(alice, night):
    made = announcements.create(alice, "for all")
    announcements.edit(made, team=night, body="for the night only")
    announcements.edit(made, team=None)
    kinds = ["announcement.created", "announcement.deleted", "announcement.created"]
    assert [kind for kind, _ in said(topics.ANNOUNCEMENTS)] == kinds
    assert said(topics.ANNOUNCEMENTS)[1] == ("announcement.deleted", {"id": made.pk})
    assert [kind for kind, _ in said(topics.team(night.pk))] == kinds[:2]


def test_a_snapshot_and_the_events_after_it_are_a_fresh_snapshot(alice, bob, night):
    """For every `announcement.*`, in every direction between topics (E12)."""
    first = announcements.create(alice, "first")
    second = announcements.create(alice, "second", team=night)
    acts: list[Callable[[], object]] = [
        lambda: announcements.create(alice, "<script>third</script>"),
        lambda: announcements.edit(first, body="changed"),
        lambda: announcements.edit(first, team=night),
        lambda: announcements.edit(second, team=None, level="error"),
        lambda: (announcements.edit(first, team=None), announcements.edit(first, team=night)),
        lambda: announcements.delete(first),
        lambda: Announcement.objects.update(level="success"),
        lambda: Announcement.objects.all().delete(),
    ]
    for act in acts:
        snapshot = announcements.snapshot(bob)
        act()
        assert apply(snapshot) == announcements.snapshot(bob)["items"]


def test_a_superusers_snapshot_has_every_team_and_follows_them(admin, alice, night):
    first = announcements.create(alice, "first", team=night)
    acts: list[Callable[[], object]] = [
        lambda: announcements.edit(first, body="changed"),
        lambda: announcements.create(alice, "second", team=night),
        lambda: announcements.edit(first, team=None),
        lambda: Announcement.objects.all().delete(),
    ]
    for act in acts:
        snapshot = announcements.snapshot(admin)
        assert topics.team(night.pk) in positions(snapshot["cursor"])
        act()
        assert apply(snapshot) == announcements.snapshot(admin)["items"]


def test_an_author_finds_what_they_wrote_to_a_foreign_team(announcer):
    foreign = Group.objects.create(name="day shift")
    announcements.create(announcer, "mine", team=foreign)
    announcements.create(None, "not mine", team=foreign)
    snapshot = announcements.snapshot(announcer)
    assert [item["title"] for item in snapshot["items"]] == ["mine"]
    assert topics.team(foreign.pk) not in positions(snapshot["cursor"])


def test_one_topic_has_a_snapshot_of_its_own(alice, bob, night):
    announcements.create(alice, "for all")
    announcements.create(alice, "for the night", team=night)
    for topic, title in (
        (topics.ANNOUNCEMENTS, "for all"),
        (topics.team(night.pk), "for the night"),
    ):
        snapshot = announcements.snapshot_of(topic)
        assert [item["title"] for item in snapshot["items"]] == [title]
        assert list(positions(snapshot["cursor"])) == [topic]


def test_deleting_a_team_deletes_its_announcements_and_says_so(alice, night):
    made = announcements.create(alice, "for the night", team=night)
    topic = topics.team(night.pk)
    night.delete()
    assert said(topic)[-1] == ("announcement.deleted", {"id": made.pk})


def test_an_author_who_leaves_leaves_the_announcement(alice):
    announcements.create(alice, "kept")
    alice.delete()
    assert Announcement.objects.get().author is None
    kind, data = said(topics.ANNOUNCEMENTS)[-1]
    assert (kind, data["author"]) == ("announcement.updated", None)


@pytest.mark.parametrize(
    ("field", "value"),
    [("title", " "), ("title", "t" * 201), ("body", "b" * 6001), ("body", "\x00"), ("level", "x")],
)
def test_names_the_field_that_cannot_be_accepted(alice, field, value):
    made = announcements.create(alice, "good")
    with pytest.raises(InvalidAnnouncement) as caught:
        announcements.create(alice, **{"title": "t", field: value})
    assert caught.value.field == field
    with pytest.raises(InvalidAnnouncement):
        announcements.edit(made, **{field: value})
    assert len(said(topics.ANNOUNCEMENTS)) == 1


def test_editing_what_was_deleted_meanwhile_does_not_bring_it_back(alice):
    made = announcements.create(alice, "gone soon")
    announcements.delete(made)
    with pytest.raises(Announcement.DoesNotExist):
        announcements.edit(made, title="back?")
    assert Announcement.objects.count() == 0


def test_who_may_announce_edits_what_they_see_or_wrote(announcer, bob, charlie, admin, night):
    others = Group.objects.create(name="day shift")
    seen = announcements.create(bob, "for all")
    unseen = announcements.create(bob, "for the day", team=others)
    own = announcements.create(announcer, "for the day too", team=others)
    assert set(announcements.editable_by(announcer)) == {seen, own}
    assert set(announcements.editable_by(charlie)) == set()
    assert set(announcements.editable_by(admin)) == {seen, unseen, own}


def test_the_admin_writes_edits_and_deletes_live(announcer, night):
    announcer.is_staff = True
    announcer.save()
    client = Client()
    client.force_login(announcer)
    form = {"title": "<b>From</b> the admin", "body": "text", "level": "info", "team": ""}
    client.post(reverse("admin:hub_notifications_announcement_add"), form)
    row = Announcement.objects.get()
    assert row.author == announcer
    change = reverse("admin:hub_notifications_announcement_change", args=[row.pk])
    client.post(change, {**form, "title": "edited", "team": night.pk})
    assert Announcement.objects.get().edited_at is not None
    bad = client.post(change, {**form, "title": "bad \x07"})
    assert bad.status_code == 200
    assert "control characters" in bad.content.decode()
    listing = reverse("admin:hub_notifications_announcement_changelist")
    marked = {"action": "delete_selected", "_selected_action": row.pk, "post": "yes"}
    client.post(listing, marked)
    assert Announcement.objects.count() == 0
    assert [kind for kind, _ in said(topics.ANNOUNCEMENTS)] == [
        "announcement.created",
        "announcement.deleted",
    ]
    assert [kind for kind, _ in said(topics.team(night.pk))] == [
        "announcement.created",
        "announcement.deleted",
    ]


def test_the_admin_is_closed_to_who_may_not_announce(bob):
    bob.is_staff = True
    bob.save()
    client = Client()
    client.force_login(bob)
    assert client.get(reverse("admin:hub_notifications_announcement_add")).status_code == 403


def test_activity_is_every_event_with_a_title(alice):
    publish(topics.DASHBOARD, "order.paid", {"title": "Order 1", "url": "/o/1/"})
    publish(topics.DASHBOARD, "order.counted", {"n": 1})
    publish(topics.DASHBOARD, "order.odd", {"title": 7})
    announcements.create(alice, "News")
    publish(topics.team(9), "order.hidden", {"title": "not asked for"})
    recent = activity.recent([topics.DASHBOARD, topics.ANNOUNCEMENTS], 10)
    shown = [(one["topic"], one["offset"], one["type"], one["title"], one["url"]) for one in recent]
    assert shown == [
        (topics.ANNOUNCEMENTS, 1, "announcement.created", "News", ""),
        (topics.DASHBOARD, 1, "order.paid", "Order 1", "/o/1/"),
    ]
    for n in range(30):
        publish(topics.DASHBOARD, "order.counted", {"n": n})
    assert [one["title"] for one in activity.recent([topics.DASHBOARD], 1)] == ["Order 1"]


def test_activity_forgets_announcements_that_were_removed_or_went_elsewhere(alice):
    gone, moved, kept = (announcements.create(alice, title) for title in ("Gone", "Moved", "Kept"))
    announcements.edit(gone, title="Gone soon")
    announcements.delete(gone)
    team = Group.objects.create(name="Night shift")
    announcements.edit(moved, team=team)
    announcements.edit(kept, title="Kept, edited")
    recent = activity.recent([topics.ANNOUNCEMENTS, topics.team(team.pk)], 10)
    assert [(one["topic"], one["title"], one["about"]) for one in recent] == [
        (topics.ANNOUNCEMENTS, "Kept, edited", kept.pk),
        (topics.team(team.pk), "Moved", moved.pk),
        (topics.ANNOUNCEMENTS, "Kept", kept.pk),
    ]
    Announcement.objects.all().delete()
    assert activity.recent([topics.ANNOUNCEMENTS], 10) == []


def test_activity_looks_back_no_further_than_it_must_and_hides_no_quiet_topic(monkeypatch):
    monkeypatch.setattr(activity, "_LOOKED_AT_MOST", 20)
    for topic in (topics.DASHBOARD, topics.ANNOUNCEMENTS):
        publish(topic, "order.paid", {"title": f"in {topic}"})
    publish_many((topics.DASHBOARD, "order.counted", {"n": n}) for n in range(50))
    looked = []

    def page(topic: str, before: int | None, limit: int) -> list[log.LoggedEvent]:
        looked.append(limit)
        return real(topic, before, limit)

    real = log.page
    monkeypatch.setattr(log, "page", page)
    recent = activity.recent([topics.DASHBOARD, topics.ANNOUNCEMENTS], 5)
    assert [one["title"] for one in recent] == ["in group.announcements"]
    assert looked == [15]  # the first five of each came in one look


def test_an_announcer_finds_only_what_they_may_edit_in_the_admin(client, bob, admin):
    secret, own = Group.objects.create(name="secret"), Group.objects.create(name="own")
    User.objects.filter(pk=bob.pk).update(is_staff=True)
    bob.user_permissions.add(Permission.objects.get(codename="announce"))
    bob.groups.add(own)
    foreign = announcements.create(admin, "SECRET-PLAN", team=secret)
    mine = announcements.create(admin, "For us", team=own)
    written = announcements.create(bob, "By me", team=Group.objects.create(name="third"))
    client.force_login(bob)
    listing = reverse("admin:hub_notifications_announcement_changelist")
    shown = client.get(listing).content.decode()
    assert "For us" in shown and "By me" in shown
    assert "SECRET-PLAN" not in shown and ">secret<" not in shown
    form = {"title": "mine now", "body": "", "level": "info", "team": ""}
    for page, sent in (("change", form), ("delete", {"post": "yes"})):
        address = reverse(f"admin:hub_notifications_announcement_{page}", args=[foreign.pk])
        assert client.get(address).status_code == 302
        client.post(address, sent)
    chosen = {"action": "delete_selected", "_selected_action": [foreign.pk], "post": "yes"}
    client.post(listing, chosen)
    foreign.refresh_from_db()
    assert foreign.title == "SECRET-PLAN"
    client.force_login(admin)
    shown = client.get(listing).content.decode()
    assert all(row.title in shown for row in (foreign, mine, written))


def test_the_admin_says_that_what_is_edited_was_deleted_meanwhile(client, admin, monkeypatch):
    row = announcements.create(admin, "Closing")
    edit = announcements.edit

    def late(row: Announcement, **parts: Any) -> Announcement:
        Announcement.objects.filter(pk=row.pk).delete()
        return edit(row, **parts)

    monkeypatch.setattr(announcements, "edit", late)
    client.force_login(admin)
    change = reverse("admin:hub_notifications_announcement_change", args=[row.pk])
    form = {"title": "Open", "body": "", "level": "info", "team": ""}
    answer = client.post(change, form, follow=True)
    assert answer.status_code == 200
    assert "Perhaps it was deleted?" in answer.content.decode()
