"""A text that somebody deleted is taken back out of the log; the log keeps its shape."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

import events
from events import log, topics
from events.models import Event

pytestmark = pytest.mark.django_db(transaction=True)

ROOM = "room.1"


def say(n: int, text: str, topic: str = ROOM) -> None:
    events.publish(topic, "message.created", {"id": n, "body": text, "n": n}, f"message:{n}")


def test_texts_go_and_everything_else_stays():
    for n in (1, 2, 11):
        say(n, f"text {n}")
    say(1, "text 1 elsewhere", "group.sales")
    events.publish(ROOM, "message.updated", {"id": 1, "body": "changed"}, "message:1")
    events.publish(ROOM, "order.late", {"id": 1, "body": "of nothing"})
    before = log.after(ROOM, 0, 10)
    assert events.redact(["message:1"], ["body", "html"]) == 3
    after = log.after(ROOM, 0, 10)
    assert [(event.offset, event.type, event.at) for event in after] == [
        (event.offset, event.type, event.at) for event in before
    ]
    assert [event.data for event in after] == [
        {"id": 1, "body": "", "n": 1},
        {"id": 2, "body": "text 2", "n": 2},
        {"id": 11, "body": "text 11", "n": 11},
        {"id": 1, "body": ""},
        {"id": 1, "body": "of nothing"},
    ]
    assert log.after("group.sales", 0, 10)[0].data["body"] == ""
    assert events.redact(["message:1"], ["body", "html"]) == 0
    assert events.redact([], ["body"]) == 0


def test_it_happens_with_its_transaction_or_not_at_all():
    say(1, "text")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        events.redact(["message:1"], ["body"])
        raise ZeroDivisionError
    assert log.after(ROOM, 0, 10)[0].data["body"] == "text"


def test_what_has_no_offset_yet_is_redacted_too():
    with transaction.atomic():
        say(1, "text")
        events.redact(["message:1"], ["body"])
    (event,) = log.after(ROOM, 0, 10)
    assert (event.offset, event.data["body"]) == (1, "")


def test_processes_are_told_what_to_forget_and_only_then():
    say(1, "text")
    events.redact(["message:2"], ["body"])
    assert log.after(topics.ACCESS, 0, 10) == []
    events.redact(["message:1"], ["body"])
    (told,) = log.after(topics.ACCESS, 0, 10)
    assert (told.type, told.data) == ("hub.redacted", {"redacted": [ROOM]})


def test_it_goes_by_an_index():
    events.publish_many((ROOM, "order.late", {"n": n}) for n in range(3000))
    events.publish_many((ROOM, "order.late", {"n": n}, f"order:{n}") for n in range(3000))
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    assert "hub_event_about" in Event.objects.filter(about__in=["order:7"]).explain()
