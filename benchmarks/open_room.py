"""How long the server takes to open a room of 100,000 messages: `make bench`.

In one process, through all middleware, on SQLite with `synchronous=FULL` and, where there is one, on a private
PostgreSQL. Milliseconds per request, median and worst of 30 after 3 to warm up, and the process's own CPU time; once
with everything read and once with everything unread. Fails when a median is above `LIMIT`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, Final

from benchmarks import disk

ROOT: Final = Path(__file__).resolve().parent.parent
LIMIT: Final = 150.0
"""Milliseconds."""
MESSAGES: Final = 100_000
TIMES: Final = 30


def main() -> int:
    with disk.postgres() as url:
        rows = [row for address in ("", *([url] if url else [])) for row in _apart(address)]
    for row in rows:
        print(
            f"{row['database']:<11} {row['what']:<24} {row['median_ms']:7.1f} ms"
            f"  worst {row['worst_ms']:7.1f}  cpu {row['cpu_ms']:7.1f}"
        )
    return int(any(row["median_ms"] > LIMIT for row in rows))


def _apart(url: str) -> list[dict[str, Any]]:
    """One database in a process of its own."""
    with tempfile.TemporaryDirectory() as home:
        environment = {
            **os.environ,
            "HUB_DATA_DIR": home,
            "DATABASE_URL": url,
            "DJANGO_SETTINGS_MODULE": "hub.settings",
            "HUB_LAYER": "memory",
            "HUB_LOG_LEVEL": "ERROR",
        }
        code = "from benchmarks import open_room; open_room.measure()"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            check=True,
        )
    rows: list[dict[str, Any]] = json.loads(done.stdout)
    return rows


def measure() -> None:
    import django

    django.setup()

    from django.contrib.auth import get_user_model
    from django.core.management import call_command
    from django.db import connection
    from django.test import Client

    from chat import rooms
    from chat.models import Membership, Message, Room

    call_command("migrate", verbosity=0)
    call_command("collectstatic", interactive=False, verbosity=0)
    people = get_user_model()._default_manager
    alice, bob = (people.create(username=name) for name in ("alice", "bob"))
    room = rooms.create(alice, "open", "Long", members=[bob])
    for start in range(0, MESSAGES, 5000):
        Message.objects.bulk_create(
            Message(
                room=room,
                author=alice,
                client_id=uuid.uuid4(),
                body=f"line {n}",
                html=f'<p dir="auto">line {n}</p>',
            )
            for n in range(start, start + 5000)
        )
    newest = Message.objects.latest("pk").pk
    Room.objects.filter(pk=room.pk).update(last_message=newest)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    browser = Client(headers={"host": "localhost"})
    browser.force_login(bob)
    rows = []
    for read, words in ((newest, "all read"), (0, "all unread")):
        Membership.objects.filter(room=room, user=bob).update(read_up_to=read)
        for name, path in (
            ("page", f"/rooms/{room.pk}/"),
            ("messages", f"/api/v1/rooms/{room.pk}/messages"),
        ):
            rows.append(
                {
                    "database": connection.vendor,
                    "what": f"{name}, {words}",
                    **_timed(lambda path=path: browser.get(path)),  # type: ignore[misc]
                }
            )
    json.dump(rows, sys.stdout)


def _timed(request: Callable[[], Any]) -> dict[str, float]:
    took, began_cpu = [], 0.0
    for number in range(TIMES + 3):
        if number == 3:
            began_cpu = time.process_time()
        began = time.perf_counter()
        answer = request()
        if number >= 3:
            took.append((time.perf_counter() - began) * 1000)
        assert answer.status_code == 200, answer.status_code
    cpu = (time.process_time() - began_cpu) * 1000 / TIMES
    return {"median_ms": median(took), "worst_ms": max(took), "cpu_ms": cpu}


if __name__ == "__main__":
    sys.exit(main())
