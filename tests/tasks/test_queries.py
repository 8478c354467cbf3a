"""What is asked every other second, and for every page, does not cost more because there were many jobs."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, Final

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.utils import timezone

from tasks import jobs, queue, watchdog
from tasks.models import Job, State
from web import context

pytestmark = pytest.mark.django_db

MANY: Final = 5_000
FEW: Final = (
    *("hub_job_live", "hub_job_live_of_owner", "hub_job_leased", "hub_job_started"),
    *("hub_tasks_job_pkey", "sqlite_autoindex_hub_tasks_job_1"),
)
"""Indexes that hold few jobs, or lead to few."""


@pytest.fixture(params=["counted", "not counted"])
def history(request: pytest.FixtureRequest, alice: User, bob: User) -> None:
    """Many jobs that ended long ago, a few under way."""
    old = timezone.now() - timedelta(days=10)
    past = {"created_at": old, "queued_at": old, "started_at": old, "finished_at": old}
    kept: dict[str, Any] = {"kind": "shop.count", "title": "Count", "queue": "celery"}
    Job.objects.bulk_create(
        (
            Job(id=uuid.uuid4(), owner=(alice, bob)[n % 2], state=State.SUCCEEDED, **past, **kept)
            for n in range(MANY)
        ),
        batch_size=1000,
    )
    for _ in range(3):
        for owner in (alice, bob):
            jobs.create(kind="shop.count", title="Count", owner=owner)
            job = jobs.create(kind="shop.count", title="Count", owner=owner)
            jobs.claim(job.pk, 1, 15)
    # SQLite mostly does without statistics, PostgreSQL never does.
    if request.param == "counted" or connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE")


def whole(act: Callable[[], Any]) -> list[str]:
    """The queries that go through the jobs otherwise than by an index that leads to few of them."""
    asked: list[tuple[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if re.match(r'(SELECT|UPDATE).*"hub_tasks_job"', sql):
            asked.append((sql, params))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        act()
    assert asked
    ways = [(sql, way) for sql, params in asked for way in plan(sql, params)]
    return [f"{way}: {sql}" for sql, way in ways if not any(name in way for name in FEW)]


def plan(sql: str, params: Any) -> list[str]:
    """How the database comes to the jobs. With parameters, as in earnest: SQLite plans otherwise with constants."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
            steps = [str(row[3]) for row in cursor.fetchall()]
            return [step for step in steps if re.match(r"(SCAN|SEARCH) hub_tasks_job\b", step)]
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
        (found,) = cursor.fetchone()
    tree = found if isinstance(found, list) else json.loads(found)
    return [way for node in nodes(tree[0]["Plan"]) if (way := way_of(node))]


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for part in node.get("Plans", []):
        yield from nodes(part)


def way_of(node: dict[str, Any]) -> str:
    if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "hub_tasks_job":
        return "Seq Scan"
    name = str(node.get("Index Name", ""))
    return name if name.startswith(("hub_job_", "hub_tasks_job_")) else ""


@pytest.mark.usefixtures("history")
def test_the_watchdog_looks_by_indexes() -> None:
    watch = watchdog.Watch()
    Job.objects.filter(state=State.STARTED).update(lease_until=timezone.now())
    assert whole(watchdog.extend_leases) == []
    assert whole(watchdog.end_silent) == []
    assert whole(queue.send_left_behind) == []
    assert whole(watch.nobody_takes) == []
    watch._sign_seen_at -= 100
    assert whole(watch.nobody_takes) == []


@pytest.mark.usefixtures("history")
def test_jobs_under_way_are_found_by_indexes(alice: User) -> None:
    assert whole(lambda: jobs.running(alice, 10)) == []
    assert whole(lambda: context.live_jobs(alice)) == []


@pytest.mark.usefixtures("history")
def test_a_scan_would_be_seen() -> None:
    """The tests above could fail."""
    assert whole(lambda: list(Job.objects.filter(state=State.STARTED).order_by()))
    assert whole(lambda: list(Job.objects.filter(summary="x").order_by("-created_at")[:5]))
