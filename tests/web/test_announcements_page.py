from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, Permission

from notifications import announcements
from notifications.models import Announcement

pytestmark = pytest.mark.django_db

NOTICE = {"title": "Closed on Friday", "body": "All day.", "level": "warning", "team": ""}


@pytest.fixture
def announcer(alice):
    alice.user_permissions.add(Permission.objects.get(codename="announce"))
    return alice


def test_is_written_edited_and_removed_by_plain_forms(client, announcer):
    client.force_login(announcer)
    assert client.post("/announcements/", NOTICE).status_code == 302
    row = Announcement.objects.get()
    assert (row.title, row.level, row.author) == ("Closed on Friday", "warning", announcer)
    client.post(f"/announcements/{row.pk}/edit/", NOTICE | {"title": "Open on Friday"})
    page = client.get("/announcements/").content.decode()
    assert "Open on Friday" in page
    client.get(f"/announcements/{row.pk}/delete/")
    assert Announcement.objects.count() == 1
    client.post(f"/announcements/{row.pk}/delete/")
    assert Announcement.objects.count() == 0


def test_only_those_who_may_announce_do(client, bob, announcer):
    row = announcements.create(announcer, "Theirs")
    client.force_login(bob)
    assert client.post("/announcements/", NOTICE).status_code == 403
    assert client.post(f"/announcements/{row.pk}/edit/", NOTICE).status_code == 404
    assert client.post(f"/announcements/{row.pk}/delete/").status_code == 404
    assert "compose" not in client.get("/announcements/").content.decode()
    assert list(Announcement.objects.values_list("title", flat=True)) == ["Theirs"]


def test_an_edit_overwrites_no_other_that_came_between(client, announcer):
    row = announcements.create(announcer, "As opened", "First text.")
    client.force_login(announcer)
    seen = client.get(f"/announcements/{row.pk}/edit/").context["seen"]
    announcements.edit(row, title="Theirs", body="Their text.")
    answer = client.post(f"/announcements/{row.pk}/edit/", NOTICE | {"seen": seen})
    page = answer.content.decode()
    assert answer.status_code == 409
    assert "Somebody changed this announcement" in page
    assert "Their text." in page
    assert 'value="Closed on Friday"' in page
    row.refresh_from_db()
    assert row.title == "Theirs"
    again = NOTICE | {"seen": answer.context["seen"]}
    assert client.post(f"/announcements/{row.pk}/edit/", again).status_code == 302
    row.refresh_from_db()
    assert row.title == "Closed on Friday"


def test_an_edit_that_is_wrong_too_says_both(client, announcer):
    row = announcements.create(announcer, "As opened")
    client.force_login(announcer)
    seen = client.get(f"/announcements/{row.pk}/edit/").context["seen"]
    announcements.edit(row, body="Their text.")
    wrong = NOTICE | {"title": "", "seen": seen}
    page = client.post(f"/announcements/{row.pk}/edit/", wrong).content.decode()
    assert "errorlist" in page
    assert "Their text." in page


def test_what_was_typed_outlives_the_announcement_and_can_be_announced_anew(client, announcer):
    row = announcements.create(announcer, "Gone soon")
    client.force_login(announcer)
    seen = client.get(f"/announcements/{row.pk}/edit/").context["seen"]
    announcements.delete(row)
    answer = client.post(f"/announcements/{row.pk}/edit/", NOTICE | {"seen": seen})
    page = answer.content.decode()
    assert answer.status_code == 404
    assert "was removed meanwhile" in page
    assert 'value="Closed on Friday"' in page
    assert "All day." in page
    assert 'action="/announcements/"' in page
    assert client.get(f"/announcements/{row.pk}/edit/").status_code == 404
    assert client.post("/announcements/", NOTICE).status_code == 302
    assert Announcement.objects.get().title == "Closed on Friday"


def test_an_edit_of_one_that_is_deleted_at_the_last_moment_keeps_the_text(
    client, announcer, monkeypatch
):
    row = announcements.create(announcer, "Gone soon")
    client.force_login(announcer)
    edit = announcements.edit

    def too_late(announcement, **parts):
        announcements.delete(announcement)
        return edit(announcement, **parts)

    monkeypatch.setattr(announcements, "edit", too_late)
    answer = client.post(f"/announcements/{row.pk}/edit/", NOTICE)
    assert answer.status_code == 404
    assert 'value="Closed on Friday"' in answer.content.decode()


def test_a_team_reads_its_own(client, announcer, bob, charlie):
    team = Group.objects.create(name="Warehouse")
    bob.groups.add(team)
    announcements.create(announcer, "For the warehouse", team=team)
    client.force_login(bob)
    assert "For the warehouse" in client.get("/announcements/").content.decode()
    client.force_login(charlie)
    assert "For the warehouse" not in client.get("/announcements/").content.decode()


def test_the_page_shows_what_it_fetches_after_a_reset(client, announcer, admin, bob):
    foreign, own = Group.objects.create(name="Night"), Group.objects.create(name="Day")
    bob.groups.add(own)
    for author, team in ((announcer, foreign), (bob, foreign), (None, own), (None, None)):
        announcements.create(author, f"By {author} to {team}", team=team)
    for user, count in ((announcer, 2), (admin, 4), (bob, 2)):
        client.force_login(user)
        page, api = client.get("/announcements/"), client.get("/api/v1/announcements").json()
        assert page.context["items"] == api["items"]
        assert len(api["items"]) == count
        assert f'data-cursor="{api["cursor"]}"' in page.content.decode()


@pytest.mark.parametrize("wrong", [{"title": ""}, {"title": "x" * 201}, {"level": "loud"}])
def test_what_is_wrong_is_said_in_place(client, announcer, wrong):
    client.force_login(announcer)
    answer = client.post("/announcements/", NOTICE | wrong)
    assert answer.status_code == 200
    assert "errorlist" in answer.content.decode()
    assert not Announcement.objects.exists()
