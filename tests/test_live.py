from __future__ import annotations

import asyncio

import httpx
import pytest
from django.contrib.auth.models import User

from tests.live import Aside, cookies_of, live_server, newcomer

pytestmark = pytest.mark.usefixtures("live_db")


@pytest.mark.parametrize("kind", ["daphne", "uvicorn", "gunicorn+daphne"])
def test_the_server_knows_whom_the_test_process_made_and_comes_back_on_its_port(kind):
    alice = newcomer(is_staff=True, is_superuser=True)
    with live_server(kind, static=True) as server:
        page = httpx.get(f"{server.url}/admin/", cookies=cookies_of(alice))
        assert (page.status_code, alice.first_name in page.text) == (200, True)
        server.streams.kill()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{server.stream_url}/healthz")
        server.streams.start()
        assert httpx.get(f"{server.stream_url}/healthz").status_code != 500


def test_aside_works_while_an_event_loop_runs_in_this_thread(aside: Aside):
    async def inside() -> str:
        alice = aside(newcomer)
        return aside(User.objects.get, pk=alice.pk).first_name

    assert asyncio.run(inside()) == "Alice"
