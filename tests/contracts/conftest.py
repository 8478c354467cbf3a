from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from channels.layers import channel_layers
from django.conf import settings
from django.contrib.auth.models import User

from accounts.authenticate import make_key
from tests.live import LiveServer, live_server

SERVERS = {
    "daphne, pubsub layer": ("daphne", "pubsub"),
    "daphne, core layer": ("daphne", "core"),
    "uvicorn, pubsub layer": ("uvicorn", "pubsub"),
}
_BACKENDS = {"pubsub": "events.layer.PubSubLayer", "core": "events.layer.CoreLayer"}


@pytest.fixture(scope="session", params=SERVERS)
def server(
    request: pytest.FixtureRequest, live_tables: None, real_redis: str
) -> Iterator[LiveServer]:
    """The hub under each server and layer; the test process publishes through the same layer."""
    kind, layer = SERVERS[request.param]
    before = settings.CHANNEL_LAYERS
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": _BACKENDS[layer]}}
    channel_layers.backends.clear()
    with live_server(kind, env={"HUB_LAYER": layer}) as started:  # type: ignore[arg-type]
        yield started
        wrong = [line for line in started.said().splitlines() if "Traceback" in line]
        assert wrong == [], started.said()[-4000:]
    settings.CHANNEL_LAYERS = before
    channel_layers.backends.clear()


@pytest.fixture
def key(live_db: None) -> Callable[..., dict[str, str]]:
    """The header of a new API key of a person."""

    def make(user: User, *scopes: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {make_key(user, 'test', scopes or None)[1]}"}

    return make
