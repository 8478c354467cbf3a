from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction

import events
from events import layer, log, sequence, topics
from events.errors import EventTooLarge, InvalidEvent
from events.models import Event, Topic

pytestmark = pytest.mark.django_db(transaction=True)


def offsets(topic: str) -> list[int]:
    return [event.offset for event in log.after(topic, 0, 10_000)]


def test_an_event_gets_its_offset_after_the_commit():
    with transaction.atomic():
        events.publish("user.1", "order.late", {"n": 1})
        assert offsets("user.1") == []
    assert offsets("user.1") == [1]
    assert log.heads(["user.1"]) == {"user.1": 1}


def test_a_rolled_back_event_never_was():
    with pytest.raises(RuntimeError), transaction.atomic():
        events.publish("user.1", "order.late", {})
        raise RuntimeError
    with transaction.atomic():
        events.publish("user.1", "order.kept", {})
        with pytest.raises(RuntimeError), transaction.atomic():
            events.publish("user.1", "order.lost", {})
            raise RuntimeError
    assert [event.type for event in log.after("user.1", 0, 10)] == ["order.kept"]
    assert offsets("user.1") == [1]


def test_offsets_are_dense_per_topic_and_in_order_of_publishing():
    events.publish_many([(f"user.{n % 3 + 1}", "order.late", {"n": n}) for n in range(30)])
    for user in (1, 2, 3):
        found = log.after(topics.user(user), 0, 100)
        assert [event.offset for event in found] == list(range(1, 11))
        assert [event.data["n"] for event in found] == list(range(user - 1, 30, 3))


def test_what_is_published_together_is_announced_in_that_order(monkeypatch):
    events.publish_many([("user.1", "order.late", {})] * 3)
    told: list[str] = []
    monkeypatch.setattr(
        layer,
        "group_send_many",
        lambda messages: told.extend(message["event"]["type"] for _, message in messages),
    )
    with transaction.atomic():
        events.publish("user.1", "order.late", {})
        events.publish("user.2", "order.found", {})
        events.publish("user.1", "order.done", {})
    assert told == ["order.late", "order.found", "order.done"]


def test_thousands_in_one_go_are_numbered_in_several_short_transactions():
    count = sequence.EVENTS_PER_TRANSACTION * 2 + 7
    assert (
        events.publish_many(("group.sales", "order.late", {"n": n}) for n in range(count)) == count
    )
    assert offsets("group.sales") == list(range(1, count + 1))


def test_eight_writers_at_once_leave_no_hole_and_lose_nothing():
    start = threading.Barrier(8)

    def write(writer: int) -> None:
        start.wait()
        try:
            for n in range(25):
                with transaction.atomic():
                    events.publish("group.sales", "order.late", {"writer": writer, "n": n})
                    events.publish(topics.user(n % 4 + 1), "order.late", {})
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert offsets("group.sales") == list(range(1, 201))
    by_writer: dict[int, list[int]] = {}
    for event in log.after("group.sales", 0, 1000):
        by_writer.setdefault(event.data["writer"], []).append(event.data["n"])
    assert all(seen == list(range(25)) for seen in by_writer.values())


def test_a_long_transaction_is_flushed_by_its_own_commit_not_by_another_threads():
    opened, committed = threading.Event(), threading.Event()

    def long() -> None:
        try:
            with transaction.atomic():
                if connection.vendor == "postgresql":  # SQLite has one writer at a time
                    events.publish("user.1", "order.long", {})
                else:
                    sequence.flush_on_commit(["user.1"])
                opened.set()
                committed.wait(10)
                if connection.vendor != "postgresql":
                    events.publish("user.1", "order.long", {})
        finally:
            connection.close()

    thread = threading.Thread(target=long)
    thread.start()
    opened.wait(10)
    if connection.vendor == "postgresql":
        events.publish("user.2", "order.short", {})
    else:
        sequence._flush_waiting()
    committed.set()
    thread.join()
    assert offsets("user.1") == [1]


def test_rows_left_by_a_dead_process_are_numbered_later():
    Event.objects.create(topic="user.1", type="order.late", data="{}")
    assert offsets("user.1") == []
    assert sequence.flush_left_behind() == 1
    assert offsets("user.1") == [1]


async def test_async_code_publishes_too():
    await events.apublish("user.1", "order.late", {})
    from asgiref.sync import sync_to_async

    assert await sync_to_async(offsets)("user.1") == [1]


def test_publishing_works_from_a_plain_thread():
    def work() -> None:
        try:
            events.publish("user.1", "order.late", {})
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert offsets("user.1") == [1]


def test_publishing_works_while_redis_is_away(settings):
    from events import redis_client

    settings.REDIS_URL = "unix:///nowhere/redis.sock"
    redis_client._blocking.clear()
    from channels.layers import channel_layers

    channel_layers.backends.clear()
    try:
        events.publish("user.1", "order.late", {})
        assert offsets("user.1") == [1]
        events.whisper("user.1", "order.typing", {})
    finally:
        redis_client._blocking.clear()
        channel_layers.backends.clear()


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "user",
        "user.0",
        "user.-1",
        "user.x",
        "nobody.1",
        "group.",
        "group.ü",
        "job.7",
        "user.1 ",
    ],
)
def test_refuses_a_topic_that_cannot_be(topic: str):
    with pytest.raises(InvalidEvent, match="no topic"):
        events.publish(topic, "order.late", {})


@pytest.mark.parametrize(
    "kind", ["", "order", "Order.late", "order..late", "order.late ", "1.2", "a." * 60 + "b"]
)
def test_refuses_a_type_that_is_none(kind: str):
    with pytest.raises(InvalidEvent, match="no event type"):
        events.publish("user.1", kind, {})


def test_refuses_what_json_cannot_say():
    with pytest.raises(InvalidEvent, match="JSON"):
        events.publish("user.1", "order.late", {"file": object()})
    with pytest.raises(InvalidEvent, match="JSON"):
        events.publish("user.1", "order.late", {"text": "\ud800"})
    with pytest.raises(EventTooLarge, match="32768"):
        events.publish("user.1", "order.late", {"text": "x" * 40_000})
    assert Event.objects.count() == 0


def test_text_of_every_kind_comes_back_as_it_was():
    data = {"text": "한국어 🎉 \u0000 </script>", "nested": [1, 2.5, None, True, {"a": "b"}]}
    events.publish("user.1", "order.late", data)
    assert log.after("user.1", 0, 1)[0].data == data


def test_a_thousand_topics_flush_in_a_few_statements(django_assert_max_num_queries):
    with django_assert_max_num_queries(60):
        events.publish_many([(topics.user(n), "order.late", {}) for n in range(1, 1001)])
    assert Topic.objects.filter(head=1).count() == 1000


def test_publishing_from_async_to_sync_code_does_not_deadlock():
    async def work() -> None:
        for _ in range(3):
            await events.apublish("user.1", "order.late", {})

    async_to_sync(work)()
    assert offsets("user.1") == [1, 2, 3]
