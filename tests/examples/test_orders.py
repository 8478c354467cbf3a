"""The example in a process of its own, as an operator would run it: `HUB_APPS=examples.orders`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

ROOT = Path(__file__).resolve().parents[2]
SETUP = """
import json, os, signal
import django
django.setup()
from django.contrib.auth.models import User
from django.db.models.signals import post_save
from events import log
from examples.orders.models import Order
from notifications import inbox
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory, real_redis: str) -> dict[str, str]:
    home = tmp_path_factory.mktemp("orders")
    keep = {"PATH": os.environ["PATH"], "HUB_LAYER": settings.HUB_LAYER}
    env = {
        **keep,
        "DJANGO_SETTINGS_MODULE": "hub.settings",
        "HUB_APPS": "examples.orders",
        "HUB_DATA_DIR": str(home),
        "REDIS_URL": real_redis,
    }
    migrated = run(env, ["manage.py", "migrate", "--verbosity", "0"])
    assert migrated.returncode == 0, migrated.stderr
    return env


def run(env: dict[str, str], arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], env=env, cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def script(env: dict[str, str], text: str) -> Any:
    """What the script prints last, as JSON."""
    done = run(env, ["-c", SETUP + text])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_has_no_complaints_and_no_missing_migrations(environment):
    for command in (["check"], ["makemigrations", "--check", "--dry-run"]):
        done = run(environment, ["manage.py", *command])
        assert done.returncode == 0, done.stdout + done.stderr


def test_an_order_that_is_saved_is_told_to_the_dashboard_and_the_order_desk(environment):
    seen = script(
        environment,
        """
boss = User.objects.create_superuser("boss")
clerk = User.objects.create_user("clerk")
order = Order.objects.create(customer="<b>Ann</b>", total="12.5")
Order.objects.update(state="late")
order.delete()
events = [(e.type, e.data["title"], e.data["fields"]) for e in log.after("group.dashboard", 0, 9)]
told = [[(i["kind"], i["title"], i["url"]) for i in inbox.page(u).items] for u in (boss, clerk)]
print(json.dumps([order.pk is None, events, told]))
""",
    )
    fields = {"customer": "<b>Ann</b>", "total": "12.50", "state": "new"}
    title = "Order 1, <b>Ann</b>: "
    assert seen == [
        True,
        [
            ["orders.order.created", title + "New", fields],
            ["orders.order.updated", title + "Late", {**fields, "state": "late"}],
            ["orders.order.deleted", title + "Late", {**fields, "state": "late"}],
        ],
        [[["orders.order.created", title + "New", "/admin/orders/order/1/change/"]], []],
    ]


def test_an_order_of_a_state_that_is_no_choice_is_saved_and_told(environment):
    seen = script(
        environment,
        """
order = Order.objects.create(customer="Odd", total=1, state="lost")
event = log.newest(["group.dashboard"], 1)[0]
print(json.dumps([str(order), event.data["title"].partition(", ")[2]]))
""",
    )
    assert seen == ["Odd: 1 (lost)", "Odd: lost"]


@pytest.mark.parametrize("moment", ["before the event", "after the event"])
def test_a_kill_inside_the_handler_leaves_neither_row_nor_event(environment, moment):
    """E00 in small: `save()` outside any transaction, the process dies while `post_save` runs."""
    counting = "print(json.dumps([Order.objects.count(), log.heads(['group.dashboard'])]))"
    before = script(environment, counting)
    suicide = """
from notifications import model_events
def die(**_): os.kill(os.getpid(), signal.SIGKILL)
if MOMENT == "before the event":
    model_events.publish_many = lambda *_: die()
else:
    post_save.connect(die, sender=Order)
Order.objects.create(customer="never", total=1)
"""
    done = run(environment, ["-c", SETUP + f"MOMENT = {moment!r}\n" + suicide])
    assert done.returncode == -signal.SIGKILL
    assert script(environment, counting) == before


def test_a_kill_between_commit_and_delivery_is_made_good_by_the_sweeper(environment):
    done = run(
        environment,
        [
            "-c",
            SETUP
            + """
from notifications import notifying
User.objects.create_superuser("desk")
notifying._deliver_posted = lambda keys: os.kill(os.getpid(), signal.SIGKILL)
Order.objects.create(customer="kept", total=1)
""",
        ],
    )
    assert done.returncode == -signal.SIGKILL
    seen = script(
        environment,
        """
from notifications.tasks import deliver_left_behind
desk = User.objects.get(username="desk")
before = inbox.unread(desk), Order.objects.filter(customer="kept").count()
swept = deliver_left_behind(), deliver_left_behind()
events = [e.data["unread"] for e in log.after(f"user.{desk.pk}", 0, 9)]
print(json.dumps([before, swept, inbox.unread(desk), events]))
""",
    )
    assert seen == [[0, 1], [1, 0], 1, [1]]
