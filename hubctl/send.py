"""`hubctl publish` and `hubctl notify`."""

from __future__ import annotations

import json
import sys
from typing import Any

from hubctl.client import Hub
from hubctl.errors import Unusable
from hubctl.terminal import out


def publish(hub: Hub, topic: str, kind: str, text: str, key: str | None) -> int:
    body: dict[str, Any] = {"topic": topic, "type": kind, "data": _data(text)}
    if key:
        body["key"] = key
    hub.post("/events", body)
    return 0


def notify(
    hub: Hub,
    *,
    users: list[str],
    teams: list[str],
    everyone: bool,
    content: dict[str, str],
) -> int:
    """`content`: kind, title, and what else is given of body, url, level, key."""
    if not (users or teams or everyone):
        raise Unusable("whom? Give --to USER, --team NAME or --everyone")
    to = {"users": users, "teams": teams, "everyone": everyone}
    told = hub.post("/notifications", {"to": to, **content})["notifications"]
    out(f"{told} told")
    return 0


def _data(text: str) -> dict[str, Any]:
    if text == "-":
        text = sys.stdin.read()
    try:
        data = json.loads(text)
    except ValueError as error:
        raise Unusable(f"the data is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise Unusable('the data must be a JSON object, like \'{"title": "Done"}\'')
    return data
