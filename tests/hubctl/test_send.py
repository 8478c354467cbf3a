"""`hubctl publish` and `hubctl notify` against a real hub."""

from __future__ import annotations

import json

from events import log, topics
from notifications.models import Notification
from tests.live import newcomer


def said(topic: str) -> list[tuple[str, object]]:
    return [(one.type, one.data) for one in log.page(topic, None, 100)]


def test_publishes_an_event(hubctl, topic) -> None:
    done = hubctl("publish", topic, "order.late", '{"title": "Übermorgen 내일"}')
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert said(topic) == [("order.late", {"title": "Übermorgen 내일"})]


def test_publishes_what_it_reads(hubctl, topic) -> None:
    data = {"rows": list(range(2000))}
    done = hubctl("publish", topic, "report.done", "-", stdin=json.dumps(data).encode())
    assert done.returncode == 0
    assert said(topic) == [("report.done", data)]


def test_the_same_key_publishes_once(hubctl, topic) -> None:
    for _ in range(2):
        done = hubctl("publish", "--key", "order-7", topic, "order.late", "{}")
        assert done.returncode == 0
    assert said(topic) == [("order.late", {})]


def test_notifies_a_person(hubctl, person) -> None:
    bob = newcomer("bob")
    done = hubctl(
        *("notify", "--to", bob.username, "--level", "warning", "--url", "/orders/7/"),
        *("--body", "Promised for ten.", "--key", "late-7", "--kind", "orders.late", "It is late"),
    )
    assert (done.returncode, done.stdout) == (0, b"1 told\n")
    letter = Notification.objects.get(recipient=bob)
    assert (letter.title, letter.body) == ("It is late", "Promised for ten.")
    assert (letter.level, letter.url, letter.kind) == ("warning", "/orders/7/", "orders.late")


def test_what_the_hub_refuses_ends_with_3_and_its_reason(hubctl) -> None:
    for asked, reason in (
        (["publish", "group.sales", "job.done", "{}"], "the hub's own"),
        (["publish", topics.user(1), "order.late", "{}"], ""),
        (["notify", "--to", "nobody-of-this-name", "Hello"], "nobody-of-this-name"),
    ):
        done = hubctl(*asked)
        assert (done.returncode, done.stdout) == (3, b"")
        assert done.stderr.count(b"\n") == 1
        assert reason in done.stderr.decode()


def test_a_wrong_key_ends_with_3_and_says_what_to_do(hubctl) -> None:
    done = hubctl("inbox", HUB_API_KEY="hub_wrong")
    assert done.returncode == 3
    assert b"Check HUB_API_KEY" in done.stderr
    assert b"hub_wrong" not in done.stderr


def test_what_is_not_the_hub_is_told_from_it(hubctl) -> None:
    done = hubctl("inbox", HUB_URL=f"{hubctl.url}/accounts/login")
    assert done.returncode == 3
    assert b"HUB_URL" in done.stderr
