from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.conf import LazySettings
from django.utils import timezone

import events
from events import epoch, log
from events.models import Event, Topic

pytestmark = pytest.mark.django_db(transaction=True)


def fill(topic: str, count: int) -> None:
    events.publish_many((topic, "order.late", {"n": n}) for n in range(count))


def test_a_cursor_names_the_epoch_and_every_head():
    fill("user.1", 3)
    assert log.cursor(["user.1", "group.sales"]) == f"{epoch.current()}~group.sales:0~user.1:3"


def test_pages_run_newest_first():
    fill("user.1", 5)
    assert [event.offset for event in log.page("user.1", None, 2)] == [5, 4]
    assert [event.offset for event in log.page("user.1", 4, 2)] == [3, 2]


def test_retention_by_count_raises_the_floor():
    fill("user.1", 12)
    fill("user.2", 3)
    assert log.prune(days=30, count=10) == 2
    assert log.reach(["user.1", "user.2"]) == {
        "user.1": log.Reach(floor=2, head=12),
        "user.2": log.Reach(floor=0, head=3),
    }
    assert [event.offset for event in log.after("user.1", 0, 100)] == list(range(3, 13))


def test_retention_by_age_raises_the_floor():
    fill("user.1", 5)
    long_ago = timezone.now() - timedelta(days=31)
    Event.objects.filter(offset__lte=4).update(at=long_ago)
    assert log.prune(days=30, count=1000) == 4
    assert log.reach(["user.1"])["user.1"] == log.Reach(floor=4, head=5)


def test_events_per_minute_cover_the_last_hour_without_gaps():
    fill("group.sales", 3)
    Event.objects.filter(offset=1).update(at=timezone.now() - timedelta(minutes=90))
    counts = log.per_minute({"group.sales": 3})
    assert len(counts) == 60
    assert sum(count for _, count in counts) == 2


def test_events_per_minute_are_counted_up_to_a_position():
    fill("group.sales", 3)
    fill("user.1", 5)
    counts = log.per_minute({"group.sales": 2, "user.1": 4, "user.2": 7})
    assert sum(count for _, count in counts) == 6
    assert sum(count for _, count in log.per_minute({})) == 0


@pytest.fixture
def mirror(tmp_path: Path, settings: LazySettings) -> Path:
    settings.HUB_DATA_DIR = tmp_path
    return tmp_path / "heads.json"


def go_back(topic: str, head: int) -> None:
    Event.objects.filter(topic=topic, offset__gt=head).delete()
    Topic.objects.filter(name=topic).update(head=head)


def test_a_database_older_than_its_mirror_starts_a_new_epoch(mirror: Path):
    fill("user.1", 5)
    before = epoch.current()
    epoch.write_mirror()
    assert not epoch.check_mirror()
    go_back("user.1", 3)
    fill("user.2", 9)  # others have more than made up for it
    assert epoch.check_mirror()
    assert epoch.current() != before
    assert not epoch.check_mirror()


def test_places_that_were_given_again_before_anybody_looked_are_noticed(mirror: Path):
    fill("user.1", 5)
    epoch.write_mirror()
    go_back("user.1", 2)
    fill("user.1", 4)
    assert epoch.check_mirror()


def test_what_retention_took_is_not_missed(mirror: Path):
    fill("user.1", 5)
    epoch.write_mirror()
    log.prune(days=30, count=0)
    assert not epoch.check_mirror()


def test_the_mirror_is_small_however_many_topics_and_epochs_there_were(mirror: Path):
    for _ in range(5):
        events.publish_many((f"user.{n}", "order.late", {}) for n in range(1, 301))
        epoch.write_mirror()
        epoch.renew()
    noted = json.loads(mirror.read_text(encoding="utf-8"))
    assert [len(newest) for newest in noted.values()] == [100, 100, 100]


def test_a_mirror_that_cannot_be_understood_is_none(mirror: Path):
    fill("user.1", 1)
    for text in ["", "[]", "{", json.dumps({epoch.current(): 10**9})]:
        mirror.write_text(text, encoding="utf-8")
        assert not epoch.check_mirror()


def test_of_many_that_find_the_log_gone_back_one_renews_it():
    former = epoch.current()
    epoch.renew_from(former)
    renewed = epoch.current()
    assert renewed != former
    epoch.renew_from(former)
    assert epoch.current() == renewed
