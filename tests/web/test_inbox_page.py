from __future__ import annotations

from datetime import UTC, datetime

import pytest

from chat import rooms
from notifications import inbox, notify
from notifications.models import Notification
from tests.chat.test_messages import say

pytestmark = pytest.mark.django_db


@pytest.fixture
def as_alice(client, alice):
    client.force_login(alice)
    return client


def tell(user, title="Order 1 is late", **more) -> int:
    notify(to=user, kind="orders.late", title=title, **more)
    return Notification.objects.latest("pk").pk


def test_reading_a_page_changes_nothing(as_alice, alice):
    pk = tell(alice)
    assert as_alice.get(f"/inbox/{pk}/").status_code == 200
    assert inbox.unread(alice) == 1


def test_one_is_marked_and_marked_back(as_alice, alice):
    pk = tell(alice)
    as_alice.post(f"/inbox/{pk}/mark/", {"read": "1"})
    assert inbox.unread(alice) == 0
    as_alice.post(f"/inbox/{pk}/mark/", {"read": "0"})
    assert inbox.unread(alice) == 1


def test_all_are_marked_up_to_what_was_seen(as_alice, alice):
    seen = tell(alice)
    tell(alice, "Came meanwhile")
    as_alice.post("/inbox/read/", {"up_to": seen})
    assert inbox.unread(alice) == 1


@pytest.mark.parametrize("nonsense", ["", "-1", "x", "9" * 40, "１"])
def test_nonsense_marks_nothing(as_alice, alice, nonsense):
    tell(alice)
    as_alice.post("/inbox/read/", {"up_to": nonsense})
    as_alice.get("/inbox/", {"before": nonsense})
    assert inbox.unread(alice) == 1


def test_what_is_somebody_elses_is_not_there(as_alice, bob):
    pk = tell(bob, "For bob")
    assert as_alice.get(f"/inbox/{pk}/").status_code == 404
    assert as_alice.post(f"/inbox/{pk}/mark/", {"read": "1"}).status_code == 404
    assert "For bob" not in as_alice.get("/inbox/").content.decode()


def test_days_are_those_of_the_persons_time_zone(as_alice, alice):
    pk = tell(alice)
    Notification.objects.filter(pk=pk).update(created_at=datetime(2026, 3, 1, 20, tzinfo=UTC))
    assert [day["key"] for day in as_alice.get("/inbox/").context["days"]] == ["2026-03-01"]
    alice.hub_profile.time_zone = "Asia/Seoul"
    alice.hub_profile.save()
    assert [day["key"] for day in as_alice.get("/inbox/").context["days"]] == ["2026-03-02"]


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "//evil.example/", "data:text/html,x", "https:/\\evil"]
)
def test_an_address_that_leads_astray_is_no_link(as_alice, alice, url):
    pk = tell(alice)
    Notification.objects.filter(pk=pk).update(url=url)
    assert f'href="{url}"' not in as_alice.get(f"/inbox/{pk}/").content.decode()


def test_older_pages_are_a_link_away(as_alice, alice):
    for at in range(inbox.PAGE + 5):
        tell(alice, f"Order {at}")
    first = as_alice.get("/inbox/")
    older = as_alice.get("/inbox/", {"before": first.context["next"]})
    assert len(first.context["items"]) == inbox.PAGE
    assert [item["title"] for item in older.context["items"]][-1] == "Order 0"


def test_costs_few_queries_however_long(as_alice, alice, bob, django_assert_max_num_queries):
    direct, _is_new = rooms.direct(bob, [alice])
    say(bob, direct)
    say(bob, rooms.create(bob, "closed", "Night", members=[alice]))
    for at in range(inbox.PAGE + 5):
        tell(alice, f"Order {at}", actor=bob)
    as_alice.get("/inbox/")
    with django_assert_max_num_queries(12):
        as_alice.get("/inbox/")
