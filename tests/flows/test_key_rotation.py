"""A new SECRET_KEY with the old one as a fallback signs nobody out, by page, API, stream or socket."""

from __future__ import annotations

import json

import httpx
import pytest
import websockets
from django.conf import settings

from consumers.database import in_database
from tests.live import LiveServer, collected_static, cookies_of, live_server, newcomer

NEW = "a-new-secret-key-of-reasonable-length-0123456789"

pytestmark = [pytest.mark.usefixtures("live_db"), pytest.mark.timeout(120)]


@pytest.mark.parametrize("fallback", [True, False])
async def test_a_rotated_key_keeps_exactly_those_it_is_told_to(
    real_redis: str, fallback: bool
) -> None:
    collected_static()
    alice = await in_database(newcomer)
    cookies = await in_database(cookies_of, alice)
    old = settings.SECRET_KEY if fallback else ""
    rotated = {"SECRET_KEY": NEW, "SECRET_KEY_FALLBACKS": old}
    with live_server(env=rotated) as server:
        async with httpx.AsyncClient(base_url=server.url) as browser:
            for name, value in cookies.items():
                browser.cookies.set(name, value, domain="127.0.0.1")
            await ask_everywhere(server, browser, known=fallback)
        for _ in range(2):  # with the cookie from before, as several tabs at once
            async with httpx.AsyncClient(base_url=server.url, cookies=cookies) as tab:
                answers = [await tab.get(path) for path in ("/", "/inbox/", "/api/v1/me")]
                known = [200, 200, 200] if fallback else [302, 302, 401]
                assert [answer.status_code for answer in answers] == known


async def ask_everywhere(server: LiveServer, browser: httpx.AsyncClient, *, known: bool) -> None:
    cookie = f"{settings.SESSION_COOKIE_NAME}={browser.cookies.get(settings.SESSION_COOKIE_NAME)}"
    headers = {"Cookie": cookie, "Origin": server.url}
    async with websockets.connect(server.ws(), additional_headers=headers) as socket:
        if known:
            assert json.loads(await socket.recv())["op"] == "welcome"
        else:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 4401
    paths = ("/events/poll", "/api/v1/me", "/settings/", "/events/poll")
    answers = [(await browser.get(path)).status_code for path in paths]
    assert answers == ([200, 200, 200, 200] if known else [401, 401, 302, 401])
