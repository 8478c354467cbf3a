"""`/admin/hub/` for whom, and what it makes of the figures."""

from __future__ import annotations

from collections import Counter
from typing import get_args

import pytest
from django.test import Client

from accounts import refusals
from consumers.batch import Batch
from consumers.ledger import BUCKETS, Figures, Reason
from consumers.protocol import ResetReason
from consumers.sse import Stream
from consumers.websocket import SignedInSocket
from hub import figures, status_page
from hub.figures import REMEMBERED, Node
from tests.people import person

pytestmark = pytest.mark.django_db


def node(name: str, **more: int) -> Node:
    readers = Figures(
        connections=Counter(websocket=2),
        owed=10,
        delivered=7,
        dropped=Counter(closed=2),
        pending=1,
        resets={"expired": 1},
        buckets=(3, *[0] * (len(BUCKETS) - 1), 1),
    )
    return Node(name, 5.0, readers, {"sign_in": 1, **more}, (0,) * (REMEMBERED - 1) + (4,))


def test_superusers_see_it_and_nobody_else(client: Client, alice, admin) -> None:
    helper = person("helper", is_staff=True)
    for user, status in ((None, 302), (alice, 302), (helper, 403), (admin, 200)):
        if user is not None:
            client.force_login(user)
        assert client.get("/admin/hub/").status_code == status


def test_it_is_only_read(client: Client, admin) -> None:
    client.force_login(admin)
    assert client.post("/admin/hub/").status_code == 405


def test_superusers_are_led_to_it(client: Client, admin, alice) -> None:
    client.force_login(admin)
    for page in ("/settings/", "/admin/"):
        assert 'href="/admin/hub/"' in client.get(page).content.decode()
    client.force_login(alice)
    assert 'href="/admin/hub/"' not in client.get("/settings/").content.decode()


def test_what_a_process_tells_is_read_as_it_was() -> None:
    told = node("a")
    assert Node.from_json(told.as_json()) == told


def test_processes_add_up() -> None:
    together = figures.total([node("a"), node("b", calls=3)])
    assert together.connected == 4
    assert together.readers.owed == 20
    assert together.readers.dropped == {"closed": 4}
    assert together.readers.balance == 0
    assert together.readers.buckets[0] == 6
    assert together.refusals == {"sign_in": 2, "calls": 3}
    assert together.delivered[-1] == 8


def test_everything_has_its_words() -> None:
    doors = {SignedInSocket.transport, Stream.transport, Batch.transport}
    assert set(status_page.TRANSPORTS) == doors
    assert set(status_page.DROPPED) == set(get_args(Reason))
    assert set(status_page.RESETS) == set(get_args(ResetReason))
    assert set(status_page.REFUSALS) == set(refusals.REASONS)


@pytest.mark.parametrize(("part", "said"), [(0.5, "≤ 5 ms"), (0.75, "≤ 5 ms"), (0.99, "> 30 s")])
def test_within_what_time(part: float, said: str) -> None:
    assert status_page._within(node("a").readers.buckets, part) == said


def test_nothing_was_handed_over_yet() -> None:
    assert status_page._within(Figures().buckets, 0.5) == ""
