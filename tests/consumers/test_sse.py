"""How a stream begins; the clients' tests read the same file (tests/js/client.test.js)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consumers import cursor as cursors
from consumers.protocol import Reset
from consumers.sse import Stream
from consumers.subscription import Subscription
from consumers.switchboard import Switchboard
from tests.consumers.test_switchboard import ALICE

VECTORS = json.loads(
    (Path(__file__).parent.parent / "vectors" / "opening.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
async def test_a_stream_says_its_cursor_behind_the_resets_that_led_to_it(vector):
    written: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        written.append(message)

    stream = Stream(send)
    subscription = Subscription(Switchboard(), ALICE, stream)
    end = cursors.read(vector["end"])
    subscription.epoch = end.epoch
    subscription.positions = dict(end.positions)
    await stream.say(stream.opening(subscription, [Reset(*one) for one in vector["resets"]]))
    assert [message["body"].decode() for message in written] == [vector["opening"]]
