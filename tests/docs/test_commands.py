"""Every command and every piece of code in README and docs is run, as a reader would run it."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Group

import events
from accounts.authenticate import make_key
from events import log, topics
from tests.docs import pages
from tests.docs.pages import ROOT, Block
from tests.live import (
    Child,
    LiveServer,
    child_environment,
    collected_static,
    free_port,
    newcomer,
)
from tests.people import person

PATIENCE = 40.0  # seconds, also on a busy machine


@pytest.fixture(scope="module")
def hub(hub_server: LiveServer, django_db_blocker) -> Iterator[LiveServer]:
    """A hub with the people that the pages name."""
    with django_db_blocker.unblock():
        people = [person("alice"), person("bob"), person("admin", is_superuser=True)]
        team = Group.objects.create(name="Warehouse")
    yield hub_server
    with django_db_blocker.unblock():
        team.delete()
        get_user_model().objects.filter(pk__in=[user.pk for user in people]).delete()


@pytest.fixture
def environment(hub: LiveServer, live_db: None, tmp_path: Path) -> dict[str, str]:
    key = make_key(get_user_model().objects.get(username="admin"), "docs")[1]
    port = int(hub.host.rpartition(":")[2])
    hubctl = tmp_path / "hubctl"  # as if it were installed
    hubctl.write_text(f'#!/bin/sh\nexec {sys.executable} -m hubctl "$@"\n')
    hubctl.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    return child_environment(port, KEY=key, HUB_API_KEY=key, PATH=path)


def command_of(block: Block, hub: LiveServer) -> list[str]:
    port = hub.host.rpartition(":")[2]
    body = block.body.replace("localhost:8000", f"localhost:{port}")
    body = body.replace(".venv/bin/python", sys.executable)
    if block.language == "sh":
        return ["bash", "-euo", "pipefail", "-c", body]
    return [sys.executable, "-c", body if block.mark == "listen" else f"{SET_UP}\n{body}"]


SET_UP = "import django; django.setup()"  # as `manage.py shell` has it


def test_no_block_is_left_out() -> None:
    """What could be run bears a mark that a test below takes up; what could not is data."""
    for block in pages.blocks():
        if block.language in pages.RUNNABLE:
            assert block.mark in pages.MARKS, f"{block} says not how it is tested"
        else:
            assert block.language in pages.SHOWN, f"{block} has the language {block.language!r}"
            assert not re.match(r"\s*[$#>] ", block.body), f"{block} looks like a command"
    taken = sum(len(pages.marked(mark)) for mark in pages.MARKS)
    assert taken == sum(block.language in pages.RUNNABLE for block in pages.blocks())


def test_no_command_hides_from_the_fences() -> None:
    for page in pages.PAGES:
        for line in pages.prose_of(page).splitlines():
            assert not re.match(r"( {4,}|\t)(\$|curl|make|python|docker|\.venv)\b", line), (
                page,
                line,
            )
            assert not line.lstrip().startswith(("```", "~~~")), f"{page}: a fence without an end"


@pytest.mark.parametrize("block", pages.marked("run"), ids=str)
def test_it_runs(block: Block, hub: LiveServer, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command_of(block, hub),
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_what_the_readme_sends_arrives(hub: LiveServer, environment: dict[str, str]) -> None:
    """Running without an error is not enough: each of the README's senders is heard."""
    names = [topics.DASHBOARD, topics.user(get_user_model().objects.get(username="alice").pk)]
    before = log.cursor(names)
    for block in pages.marked("run"):
        if block.page.name == "README.md":
            subprocess.run(
                command_of(block, hub), cwd=ROOT, env=environment, check=True, timeout=60
            )
    key = {"Authorization": f"Bearer {environment['KEY']}"}
    asked = {"topics": topics.DASHBOARD, "cursor": before}
    heard = httpx.get(hub.events("poll"), params=asked, headers=key).json()["events"]
    sent = [event["type"] for event in heard]
    assert [kind for kind in sent if kind in {"deploy.finished", "backup.done"}] == [
        "deploy.finished",
        "backup.done",
    ]
    assert "job.succeeded" in sent
    kinds = [event.data.get("kind") for event in log.page(names[1], None, 10)]
    assert "backup.done" in kinds


@pytest.mark.parametrize("block", pages.marked("listen"), ids=str)
def test_it_hears_what_happens(block: Block, hub: LiveServer, environment: dict[str, str]) -> None:
    mark = f"heard-{time.monotonic_ns()}"
    listener = subprocess.Popen(
        command_of(block, hub),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert listener.stdout is not None
    heard = b""
    deadline = time.monotonic() + PATIENCE
    try:
        while mark.encode() not in heard and time.monotonic() < deadline:
            events.publish(topics.DASHBOARD, "docs.said", {"mark": mark})
            if select.select([listener.stdout], [], [], 0.5)[0]:
                heard += os.read(listener.stdout.fileno(), 65536)
        assert mark in heard.decode()
    finally:
        if listener.poll() is None:
            os.killpg(listener.pid, signal.SIGKILL)
        listener.wait()
        listener.stdout.close()


@pytest.mark.parametrize("block", pages.marked("serve"), ids=str)
@pytest.mark.usefixtures("live_db")
def test_it_serves_and_ends(block: Block, tmp_path: Path) -> None:
    collected_static()
    port = free_port()
    key = {"Authorization": f"Bearer {make_key(newcomer(), 'docs')[1]}"}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    command = f"exec {block.body.replace('8000', str(port))}"
    server = Child(
        ["bash", "-c", command], child_environment(port, PATH=path), tmp_path / "log", port
    )
    server.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=key, timeout=20) as client:
            assert client.get("/accounts/login/", follow_redirects=True).status_code == 200
            assert client.get("/api/v1/me").status_code == 200
            with client.stream("GET", "/events/stream") as stream:
                if block.target == "pages":
                    assert stream.status_code == 404
                else:
                    assert next(stream.iter_lines()) == "retry: 2000"
                began = time.monotonic()
                server.stop()
                assert time.monotonic() - began < 10  # seconds
    finally:
        server.kill()
    assert "Traceback" not in server.said(), server.said()[-4000:]


def test_the_app_of_the_readme_speaks(tmp_path, hub: LiveServer) -> None:
    """Its files as they stand, with the model that they speak of, saved in a hub of its own."""
    for block in pages.marked("file"):
        path = tmp_path / block.target
        path.parent.mkdir(exist_ok=True)
        (path.parent / "__init__.py").touch()
        path.write_text(block.body, encoding="utf-8")
    (tmp_path / "orders" / "models.py").write_text(
        "from django.conf import settings\n"
        "from django.db import models\n"
        "class Order(models.Model):\n"
        "    number = models.IntegerField()\n"
        "    state = models.CharField(max_length=20)\n"
        "    clerk = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)\n"
    )
    environment = child_environment(
        8000,
        DATABASE_URL=f"sqlite:///{tmp_path}/orders.db",
        HUB_APPS="orders",
        PYTHONPATH=str(tmp_path),
    )
    use = (
        "from django.contrib.auth.models import User; from orders.models import Order; import json;"
        "from events import log; clerk = User.objects.create_user('alice');"
        "order = Order.objects.create(number=7, state='new', clerk=clerk);"
        "order.state = 'late'; order.save();"
        "from orders.tasks import order_report; from tasks import queue;"
        "job = order_report.start(owner=clerk, state='late');"
        "order_report.apply(kwargs={'state': 'late'},"
        " headers={queue.JOB: str(job.pk), queue.ATTEMPT: 1});"  # as a worker does, here
        "job.refresh_from_db();"
        "print(json.dumps([job.state, job.summary, job.done, job.files.get().name]));"
        "seen = log.after('group.dashboard', 0, 99) + log.after(f'user.{clerk.pk}', 0, 99);"
        "print(json.dumps([[event.type, event.data.get('title')] for event in seen]))"
    )
    for arguments in (
        ["check"],
        ["migrate", "--run-syncdb", "--verbosity", "0"],
        ["shell", "--no-imports", "-c", use],
    ):
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
    *_, job, seen = map(json.loads, done.stdout.splitlines())
    assert job == ["succeeded", "1 orders", 1, "orders.csv"]
    assert [[kind, title] for kind, title in seen if not kind.startswith("job.")] == [
        ["orders.order.created", "Order 7 is new"],
        ["orders.order.updated", "Order 7 is late"],
        ["notification.created", "Order 7 is late"],
        ["notification.created", "Order report: done"],
    ]


@pytest.mark.parametrize("block", pages.marked("from"), ids=str)
def test_an_excerpt_is_what_stands_in_its_file(block: Block) -> None:
    assert block.body in (ROOT / block.target).read_text(encoding="utf-8")


@pytest.mark.parametrize("block", pages.marked("make"), ids=str)
def test_make_knows_the_target(block: Block) -> None:
    """What `make run` does is shown in tests/hub/test_up.py; `make test` runs this."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in block.body.splitlines():
        make, target = line.split(" ", 1)
        assert make == "make"
        assert target in targets


@pytest.mark.parametrize("block", pages.marked("compose"), ids=str)
def test_compose_knows_the_services(block: Block) -> None:
    services = set(
        re.findall(
            r"^  ([a-z]+):$",
            (ROOT / "docker-compose.yml")
            .read_text()
            .partition("\nservices:")[2]
            .partition("\nvolumes:")[0],
            re.MULTILINE,
        )
    )
    for line in block.body.splitlines():
        assert line.startswith("docker compose ")
        for scaled in re.findall(r"--scale ([a-z]+)=", line):
            assert scaled in services
        verb, *rest = line.split()[2:]
        assert verb in {"up", "logs", "down", "ps", "config", "pull", "exec"}
        if verb in {"logs", "exec"}:
            assert rest[0] in services


def test_data_in_the_pages_is_json() -> None:
    for block in pages.blocks():
        if block.language == "json":
            json.loads(block.body)
