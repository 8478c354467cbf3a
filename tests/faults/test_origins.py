"""E105: what another site sends with somebody's cookie changes nothing and hears nothing."""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import pytest
import websockets
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import get_resolver

from consumers import routing
from consumers.database import in_database
from tests.faults.conftest import Report
from tests.faults.test_rights import NO_JOB, operations, routes
from tests.faults.test_rights_of_sockets import addresses
from tests.live import LiveServer, cookies_of, live_server, newcomer

TRUSTED: Final = "https://trusted.example"
MISSING: Final = None
BODIES: Final = {"/connection/ping/": "run=a&sent_at=1"}
"""Where an empty one is answered as a missing token is."""
SOCKETS: Final = {
    "ws/": "ws/",
    "ws/me/": "ws/me/",
    "ws/groups/<str:name>/": "ws/groups/dashboard/",
    "ws/rooms/<str:room_id>/": "ws/rooms/1/",
    "ws/jobs/<str:job_id>/": f"ws/jobs/{NO_JOB}/",
    "ws/echo/": "ws/echo/",
    "": "ws/nowhere/",
}


def foreign(host: str) -> list[str | None]:
    """40 that are not ours, for a hub at http://`host`; a browser sends some of them, a clumsy check lets in others."""
    name, _, port = host.partition(":")
    return [
        MISSING,
        "",
        "null",
        "*",
        "//",
        "http://",
        "http:///",
        f"https://{host}",
        f"ftp://{host}",
        f"ws://{host}",
        f"file://{host}",
        f"HTTP://{host}",
        f"http:{host}",
        f"http//{host}",
        f"//{host}",
        host,
        name,
        f"http://{name}",
        f"http://{name}:{int(port) + 1}",
        f"http://{name}:0{port}",
        f"http://{name}:",
        f"http://{name}.:{port}",
        f"http://{name}:{port}.evil.example",
        f"http://{name}.evil.example:{port}",
        f"http://evil{name}:{port}",
        f"http://evil.example#{host}",
        f"http://evil.example?{host}",
        f"http://evil.example/{host}",
        f"http://{host}@evil.example",
        f"http://evil.example@{host}",
        f"http://{host}/",
        f"http://{host}/path",
        f"http://{host} http://evil.example",
        f"http://{host}, http://evil.example",
        f"http://evil.example, http://{host}",
        f"http://{host}%00.evil.example",
        f"http://[::1]:{port}",
        "https://trusted.example.evil.example",
        "https://sub.trusted.example",
        "http://trusted.example",
        "https://trusted.example:444",
        "http://evil.example",
    ]


# --- requests ---------------------------------------------------------------------------------------------------------


def unsafe() -> list[tuple[str, str]]:
    """The API's operations that change something, and every other address of the URLconf with all such methods."""
    found = {
        (method, f"/api/v1/{path}")
        for method, path in operations()
        if method not in {"GET", "HEAD"}
    }
    for route, _ in routes(get_resolver()):
        if not route.startswith("api/") and not re.search(r"[$^]", route):
            found |= {(method, f"/{route}") for method in ("POST", "PUT", "PATCH", "DELETE")}
    return sorted(
        (method, re.sub(r"\{\w+\}", "1", path.replace("{job_id}", NO_JOB)))
        for method, path in found
    )


@pytest.mark.experiment("E105", quick=True)
@pytest.mark.django_db(transaction=True)
def test_no_request_from_another_site_changes_anything(
    admin: User, settings: Any, in_full: bool, report: Report
) -> None:
    settings.CSRF_TRUSTED_ORIGINS = [TRUSTED]
    client = Client(enforce_csrf_checks=True, HTTP_HOST="localhost:8000")
    client.force_login(admin)
    client.get("/settings/")
    token = client.cookies[settings.CSRF_COOKIE_NAME].value

    def refused(method: str, path: str, origin: str | None, *, with_token: bool) -> bool:
        headers = {} if origin is None else {"origin": origin}
        if with_token:
            headers["x-csrftoken"] = token
        json = path.startswith("/api/")
        kind = "application/json" if json else "application/x-www-form-urlencoded"
        cookies = client.cookies.output(header="")
        with transaction.atomic():
            body = BODIES.get(path, "")
            answer = client.generic(method, path, body, content_type=kind, headers=headers)
            transaction.set_rollback(True)
        client.cookies.clear()
        client.cookies.load(cookies)
        if json:
            return answer.status_code == 403 and answer.json()["error"]["code"] == "bad_origin"
        return answer.status_code == 400

    everywhere = unsafe()
    assert len(everywhere) > 150
    wrong = []
    for method, path in everywhere:
        if path.startswith("/api/") and refused(
            method, path, "http://localhost:8000", with_token=False
        ):
            wrong.append(f"{method} {path} refuses our own")
        if refused(method, path, TRUSTED, with_token=True):
            wrong.append(f"{method} {path} refuses who is trusted")
        if not path.startswith("/api/") and not refused(method, path, TRUSTED, with_token=False):
            wrong.append(f"{method} {path} asks for no token")
    origins = foreign("localhost:8000")
    each = len(origins) if in_full else 4
    asked = [
        (method, path, origins[(turn * each + step) % len(origins)])
        for turn, (method, path) in enumerate(everywhere)
        for step in range(each)
    ]
    wrong += [
        f"{method} {path} from {origin!r}"
        for method, path, origin in asked
        if not refused(method, path, origin, with_token=origin is not MISSING)
    ]
    report(n=len(asked), worst=f"{len(wrong)} let in")
    assert not wrong, "\n".join(wrong[:50])


def test_only_the_api_is_exempt_from_djangos_token() -> None:
    exempt = {
        route
        for route, found in routes(get_resolver())
        if getattr(found.callback, "csrf_exempt", False)
    }
    assert exempt
    assert {route for route in exempt if not route.startswith("api/")} == set()


# --- sockets ----------------------------------------------------------------------------------------------------------


async def is_let_in(server: LiveServer, path: str, cookie: str, origin: str | None) -> bool:
    """Whether the address says anything but 4403. What is no URL at all, Daphne refuses before us."""
    headers = {"Cookie": cookie} | ({} if origin is None else {"Origin": origin})
    address = f"ws{server.url.removeprefix('http')}/{path}"
    try:
        async with websockets.connect(address, additional_headers=headers) as socket:
            async with asyncio.timeout(10):
                if path == "ws/echo/":
                    await socket.send("x")
                await socket.recv()
            return True
    except websockets.ConnectionClosed as closed:
        assert closed.rcvd is not None
        return closed.rcvd.code != 4403
    except websockets.InvalidStatus as refused:
        assert refused.response.status_code in {400, 403}
        return False


@pytest.mark.experiment("E105", quick=True)
@pytest.mark.usefixtures("live_db")
async def test_no_socket_is_opened_by_another_site(real_redis: str, report: Report) -> None:
    assert addresses(routing.sockets) == set(SOCKETS)
    alice = await in_database(newcomer)
    cookies = await in_database(cookies_of, alice)
    cookie = "; ".join(f"{name}={value}" for name, value in cookies.items())
    wrong, asked = [], 0
    with live_server(env={"HUB_ORIGINS": TRUSTED}) as server:
        for path in SOCKETS.values():
            readable = path in {"ws/", "ws/me/", "ws/groups/dashboard/", "ws/echo/"}
            ours = (server.url, TRUSTED) if readable else ()
            for origin in (*ours, *foreign(server.host)):
                asked += 1
                if await is_let_in(server, path, cookie, origin) != (origin in ours):
                    wrong.append(f"/{path} from {origin!r}")
    report(n=asked, worst=f"{len(wrong)} let in")
    assert not wrong, "\n".join(wrong)
