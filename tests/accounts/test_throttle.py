"""One person's calls are bounded, with Redis and without; notes of use wait for nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.db import connection, transaction

from accounts import throttle
from accounts.authenticate import Credential, from_request_headers, make_key
from accounts.models import ApiKey
from events import redis_client


def credential(user_id: int = 1, key_id: int | None = None) -> Credential:
    return Credential(
        user_id=user_id,
        username="x",
        name="x",
        is_superuser=False,
        scopes=frozenset(),
        key_id=key_id,
        session_key=None if key_id else "s",
    )


@pytest.fixture(params=["redis", "alone"])
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A name of its own per test, with Redis there or away."""
    monkeypatch.setattr(throttle, "_redis_after", 0.0)
    if request.param == "alone":

        def away() -> Any:
            raise redis.ConnectionError

        monkeypatch.setattr(redis_client, "blocking", away)
    yield f"{request.node.name}-{time.monotonic_ns()}"


def calls(count: int, bucket: str, per_minute: int, who: Credential | None = None) -> int:
    passed = 0
    for _ in range(count):
        try:
            throttle.limit(who or credential(), bucket, per_minute)
            passed += 1
        except throttle.TooFast as refusal:
            assert refusal.status_code == 429
            assert refusal.retry_after is not None and 1 <= refusal.retry_after <= 60
    return passed


def test_a_minutes_worth_may_come_at_once_and_no_more(bucket: str) -> None:
    assert calls(12, bucket, 10) == 10


def test_it_refills_with_time(bucket: str) -> None:
    assert calls(700, bucket, 600) in range(600, 640)
    time.sleep(0.35)
    assert calls(10, bucket, 600) >= 3


def test_each_person_and_each_name_has_its_own(bucket: str) -> None:
    assert calls(2, bucket, 1) == 1
    assert calls(2, bucket, 1, credential(2)) == 1
    assert calls(2, f"{bucket}2", 1) == 1


def test_another_key_or_session_buys_nothing(bucket: str) -> None:
    assert calls(2, bucket, 1, credential(1, key_id=1)) == 1
    assert calls(1, bucket, 1, credential(1, key_id=2)) == 0
    assert calls(1, bucket, 1) == 0


def test_a_call_may_weigh_more(bucket: str) -> None:
    throttle.limit(credential(), bucket, 10, cost=6)
    with pytest.raises(throttle.TooFast) as refusal:
        throttle.limit(credential(), bucket, 10, cost=6)
    assert refusal.value.retry_after in {11, 12}
    throttle.limit(credential(), bucket, 10, cost=4)
    throttle.limit(credential(2), bucket, 10, cost=1000)
    with pytest.raises(throttle.TooFast):
        throttle.limit(credential(2), bucket, 10)


def test_a_bucket_may_leak_slowly(bucket: str) -> None:
    assert [throttle.take(bucket, 3, 3600) for _ in range(3)] == [0, 0, 0]
    assert throttle.take(bucket, 3, 3600) in range(1190, 1201)


def test_a_redis_that_is_away_is_not_asked_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def away() -> Any:
        asked.append(1)
        raise redis.TimeoutError

    monkeypatch.setattr(throttle, "_redis_after", 0.0)
    monkeypatch.setattr(redis_client, "blocking", away)
    assert calls(20, f"away-{time.monotonic_ns()}", 100) == 20
    assert len(asked) == 1


def test_memory_is_bounded_while_redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttle, "_redis_after", time.monotonic() + 60)
    monkeypatch.setattr(throttle, "_MOST_LOCAL", 50)
    throttle._local.clear()
    for n in range(200):
        throttle.limit(credential(n + 1), "many", 10)
    assert len(throttle._local) == 50


@pytest.mark.django_db(transaction=True)
def test_a_key_works_at_once_while_another_process_writes(alice: User) -> None:
    key, secret = make_key(alice, "k")
    held, done = threading.Event(), threading.Event()

    def write_for_long() -> None:
        try:
            with transaction.atomic():
                ApiKey.objects.filter(pk=key.pk).update(name="held")
                held.set()
                done.wait(10)
        finally:
            connection.close()

    writer = threading.Thread(target=write_for_long)
    writer.start()
    try:
        assert held.wait(5)
        started = time.monotonic()
        found = from_request_headers(f"Bearer {secret}", None)
        assert found is not None and found.key_id == key.pk
        assert time.monotonic() - started < 1.0
    finally:
        done.set()
        writer.join(10)
    from_request_headers(f"Bearer {secret}", None)
    key.refresh_from_db()
    assert key.last_used_at is not None
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA busy_timeout")
            assert cursor.fetchone()[0] == 20_000
