from __future__ import annotations

import pytest
from django.contrib.auth.models import Group

from events import log, publish
from notifications import announcements, notify
from web import dashboard

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


def test_goes_on_from_a_cursor_that_is_not_younger_than_its_rows(alice, monkeypatch):
    publish("group.dashboard", "orders.order.created", {"title": "Before"})
    counted = log.per_minute

    def while_something_happens(names, minutes=60):
        monkeypatch.setattr(log, "per_minute", counted)
        publish("group.dashboard", "orders.order.created", {"title": "Meanwhile"})
        return counted(names, minutes)

    monkeypatch.setattr(log, "per_minute", while_something_happens)
    shown = dashboard.snapshot(alice)
    assert "group.dashboard:2" in shown["cursor"]
    assert sum(minute["count"] for minute in shown["per_minute"]) == 2


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
    for part in ("activity", "announcements", "unread", "needs_me", "topics", "cursor"):
        assert answer[part] == page[part]


def test_costs_few_queries_however_much_there_is(client, alice, django_assert_max_num_queries):
    for at in range(20):
        notify(to=alice, kind="orders.late", title=f"Order {at}", actor=alice)
        announcements.create(alice, f"Notice {at}")
    client.force_login(alice)
    client.get("/")
    with django_assert_max_num_queries(32):
        client.get("/")
