from __future__ import annotations

import json

from notifications import notify
from notifications.models import Notification


def letters(person, *titles: str) -> list[int]:
    for title in titles:
        notify(to=person, kind="orders.late", title=title, url="/orders/7/")
    rows = Notification.objects.filter(recipient=person).order_by("pk")
    return list(rows.values_list("pk", flat=True))


def test_shows_own_notifications_newest_first(hubctl, person) -> None:
    letters(person, "one", "two 둘")
    done = hubctl("inbox")
    second, first = done.stdout.decode().splitlines()
    assert "* " in first
    assert first.endswith("one  /orders/7/")
    assert second.endswith("two 둘  /orders/7/")
    items = [json.loads(line) for line in hubctl("inbox", "--json").stdout.splitlines()]
    assert [item["title"] for item in items] == ["two 둘", "one"]


def test_shows_as_many_as_are_asked_for(hubctl, person) -> None:
    letters(person, *(f"n{n}" for n in range(103)))
    items = hubctl("inbox", "--json", "--limit", "102").stdout.splitlines()
    assert [json.loads(line)["title"] for line in items] == [f"n{n}" for n in range(102, 0, -1)]
    assert len(hubctl("inbox", "--limit", "3").stdout.splitlines()) == 3


def test_marks_as_read(hubctl, person) -> None:
    first, *_ = letters(person, "one", "two", "three")
    assert hubctl("inbox", "read", str(first)).stdout == b"2 unread\n"
    shown = hubctl("inbox", "--unread", "--json").stdout.splitlines()
    assert [json.loads(line)["title"] for line in shown] == ["three", "two"]
    assert hubctl("inbox", "read", "all").stdout == b"0 unread\n"
    assert hubctl("inbox", "--unread").stdout == b""
    assert hubctl("inbox", "read", "all").stdout == b"0 unread\n"


def test_an_empty_inbox_has_nothing_to_mark(hubctl) -> None:
    assert hubctl("inbox", "read", "all").stdout == b"0 unread\n"


def test_what_is_not_theirs_does_not_exist(hubctl) -> None:
    assert hubctl("inbox", "read", "999999999").returncode == 3


def test_what_others_wrote_does_not_steer_the_terminal(hubctl, person) -> None:
    notify(to=person, kind="orders.late", title="ends here\u202eolleh")
    shown = hubctl("inbox").stdout.decode()
    assert shown.count("\n") == 1
    assert "\u202e" not in shown
