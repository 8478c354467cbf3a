"""What the server itself holds back, before an application sees it."""

from __future__ import annotations

import contextlib
import inspect
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.db import connection, transaction

from accounts.authenticate import make_key
from hub import asgi, bodies
from tasks import files, jobs
from tests.live import ROOT, LiveServer, child_environment, cookies_of, live_server, newcomer

pytestmark = pytest.mark.usefixtures("live_db")
MB = 1024 * 1024


def memory(pid: int) -> int:
    """The most this process ever held, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


def test_a_request_stays_on_one_thread():
    """What has no asynchronous form makes Django's own handler change threads around it."""
    assert not inspect.iscoroutinefunction(asgi.pages._middleware_chain)  # type: ignore[attr-defined]


def test_a_huge_body_is_refused_without_being_kept():
    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            yield b"x" * MB

    with live_server("daphne") as server:
        process = server.streams.process
        assert process is not None
        httpx.get(f"{server.url}/healthz")
        before = memory(process.pid)
        for path in ["/api/v1/events", "/accounts/login/", "/healthz", "/events/poll"]:
            bodies: list[Any] = [b"x" * (40 * MB), pieces()]
            for content in bodies:
                answer = httpx.post(f"{server.url}{path}", content=content, timeout=30)
                assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")
        assert memory(process.pid) - before < 30 * MB
        assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_a_form_that_cannot_be_read_is_answered_by_the_api():
    with live_server("daphne") as server:
        for path in ["/api/v1/events", "/api/v1/inbox/read", "/api/v1/nowhere"]:
            answer = httpx.post(
                f"{server.url}{path}",
                content=b"x=1",
                headers={"Content-Type": "multipart/form-data", "Authorization": "Bearer none"},
            )
            assert answer.status_code in {401, 404}, answer.text
            assert answer.json()["error"]["detail"]


def test_a_foreign_host_is_one_short_line_and_readiness_none():
    with live_server("daphne", static=True) as server:
        said = len(server.said())
        answer = httpx.get(f"{server.url}/accounts/login/", headers={"Host": "evil.example"})
        assert answer.status_code == 400
        httpx.get(f"{server.url}/readyz")  # 503: there is no worker
        httpx.get(f"{server.url}/healthz")
        lines = server.said()[said:].splitlines()
        assert len(lines) == 1, lines
        assert "evil.example" in lines[0] and '"warning"' in lines[0]
        assert "Traceback" not in lines[0]


def test_an_address_far_too_long_is_answered():
    with live_server("daphne") as server:
        for length in (20_000, 60_000):
            answer = httpx.get(f"{server.url}/events/poll?cursor={'x' * length}")
            assert answer.status_code == 400


def test_a_handshake_in_other_letters_than_ascii_is_refused():
    wrong = [b"Sec-WebSocket-Protocol: \xff", b"X-\xff: y"]
    with live_server("daphne") as server:
        host, port = server.host.split(":")
        for line in wrong:
            with socket.create_connection((host, int(port)), timeout=15) as client:
                client.sendall(
                    b"GET /ws/ HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                    b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                    b"Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n" + line + b"\r\n\r\n"
                )
                assert client.recv(1000).startswith(b"HTTP/1.1 400 ")
        assert "Traceback" not in server.said()


def test_nobody_moves_the_addresses_of_the_answer():
    with live_server("daphne") as server:
        answer = httpx.get(f"{server.url}/inbox/", headers={"Daphne-Root-Path": "/elsewhere"})
        assert answer.status_code == 302
        assert "elsewhere" not in answer.headers["Location"]


def test_who_leaves_a_stream_at_once_leaves_no_fault_behind():
    with live_server("daphne") as server:
        key = make_key(newcomer(), "test")[1]
        host, port = server.host.split(":")
        for early in range(30):
            with socket.create_connection((host, int(port))) as client:
                client.sendall(
                    f"GET /events/stream HTTP/1.1\r\nHost: {server.host}\r\n"
                    f"Authorization: Bearer {key}\r\n\r\n".encode()
                )
                time.sleep(early / 1000)
        httpx.get(server.events("poll"), headers={"Authorization": f"Bearer {key}"})
        assert "Traceback" not in server.said()


def test_a_body_without_end_is_cut():
    with live_server("daphne") as server:
        host, port = server.host.split(":")
        with socket.create_connection((host, int(port)), timeout=30) as client:
            client.sendall(
                b"POST /healthz HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            )
            piece = b"100000\r\n" + b"x" * MB + b"\r\n"
            with pytest.raises(OSError):
                for _ in range(200):
                    client.sendall(piece)
        assert httpx.get(f"{server.url}/healthz").status_code == 200


# --- forms with files -----------------------------------------------------------------------------------------------

BOUNDARY = b"--b\r\nContent-Disposition: form-data; name="
MULTIPART = "multipart/form-data; boundary=b"


def form(size: int, task: str = "no.such.task") -> bytes:
    """A form as curl sends it: the task's name, and a file of this size."""
    head = BOUNDARY + b'"task"\r\n\r\n' + task.encode() + b"\r\n"
    head += BOUNDARY + b'"table"; filename="t.csv"\r\nContent-Type: text/csv\r\n\r\n'
    return head + b"a,b\n" * (size // 4) + b"\r\n--b--\r\n"


def headers_of(user: User) -> dict[str, str]:
    return {"Authorization": f"Bearer {make_key(user, 'test')[1]}"}


def pid_of(server: LiveServer) -> int:
    process = server.streams.process
    assert process is not None
    return process.pid


def spooled(server: LiveServer) -> int:
    """Bytes in the files without a name that the server holds open."""
    found = 0
    for place in Path(f"/proc/{pid_of(server)}/fd").iterdir():
        with contextlib.suppress(OSError):
            if str(place.readlink()).endswith("(deleted)"):
                found += place.stat().st_size
    return found


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 15
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def begin(server: LiveServer, sent: int, headers: dict[str, str]) -> socket.socket:
    """Send so much of a form of 16 MiB, and keep still."""
    host, port = server.host.split(":")
    client = socket.create_connection((host, int(port)), timeout=15)
    head = {
        "Host": server.host,
        "Content-Type": MULTIPART,
        "Content-Length": str(16 * MB),
        **headers,
    }
    lines = ["POST /api/v1/jobs HTTP/1.1", *(f"{name}: {value}" for name, value in head.items())]
    client.sendall("\r\n".join([*lines, "", ""]).encode() + form(17 * MB)[:sent])
    return client


def test_a_form_with_a_large_file_passes_where_jobs_are_started_and_nowhere_else():
    user = newcomer()
    headers = {**headers_of(user), "Content-Type": MULTIPART}
    with live_server("daphne", static=True) as server:

        def post(path: str, content: Any, **more: Any) -> httpx.Response:
            asked: dict[str, Any] = {"headers": headers, "timeout": 30, **more}
            return httpx.post(f"{server.url}{path}", content=content, **asked)

        httpx.get(f"{server.url}/healthz")
        before = memory(pid_of(server))
        large = form(files.UPLOAD_MAX)
        for content in (large, (large[at : at + MB] for at in range(0, len(large), MB))):
            answer = post("/api/v1/jobs", content)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
        by_cookie = {"Content-Type": MULTIPART, "Origin": server.url}
        cookies = {**cookies_of(user), "csrftoken": "x" * 32}
        assert post("/api/v1/jobs", large, headers=by_cookie, cookies=cookies).status_code == 404
        page = "/jobs/start/no.such.task/"
        answer = post(page, large, headers=by_cookie, cookies=cookies)
        assert (answer.status_code, "gone stale" in answer.text) == (400, True)  # there is no token
        by_cookie["X-CSRFToken"] = "x" * 32
        assert post(page, large, headers=by_cookie, cookies=cookies).status_code == 404
        too_large = form(bodies.WITH_FILES)
        for path, content, kind in [
            ("/api/v1/jobs", too_large, MULTIPART),
            ("/jobs/start/x/", too_large, MULTIPART),
            ("/api/v1/jobs", large, "application/json"),
            ("/api/v1/jobs/external", large, MULTIPART),
            ("/api/v1/events", large, MULTIPART),
            ("/accounts/login/", large, MULTIPART),
            ("/jobs/start/x/y/", large, MULTIPART),
        ]:
            answer = post(path, content, headers={**headers, "Content-Type": kind})
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large"), path
        assert memory(pid_of(server)) - before < 60 * MB
        assert spooled(server) < MB


def test_a_browser_reads_a_page_about_what_is_refused():
    browser = {
        "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "Accept-Language": "ko-KR,ko;q=0.9,en;q=0.8",
        "Content-Type": MULTIPART,
    }
    with live_server("daphne", static=True) as server:
        page = f"{server.url}/jobs/start/staff.import/"

        def post(url: str, size: int, **more: str) -> httpx.Response:
            return httpx.post(url, content=form(size), headers={**browser, **more}, timeout=30)

        answer = post(page, bodies.WITH_FILES, Referer=f"{page}?x=1")
        assert answer.status_code == 413
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert '<html lang="ko"' in answer.text
        assert "16 MiB까지" in answer.text
        assert 'href="/jobs/start/staff.import/"' in answer.text
        english = post(
            page, bodies.WITH_FILES, **{"Accept-Language": "en", "Referer": "http://x/y/"}
        )
        assert "may have at most 16 MiB" in english.text
        assert "/y/" not in english.text
        elsewhere = post(f"{server.url}/announcements/", 3 * MB, **{"Accept-Language": "en"})
        assert elsewhere.status_code == 413
        assert "may have at most 2.5 MiB" in elsewhere.text
        signed_out = post(page, 3 * MB)
        assert signed_out.status_code == 302
        assert signed_out.headers["Location"] == "/accounts/login/?next=/jobs/start/staff.import/"
        api = post(f"{server.url}/api/v1/jobs", bodies.WITH_FILES)
        assert (api.status_code, api.json()["error"]["code"]) == (413, "too_large")


def test_nobody_brings_more_than_usual_before_it_is_known_who_it_is():
    with live_server("daphne") as server:
        for headers in [
            {},
            {"Authorization": "Bearer nonsense"},
            {"Authorization": "Bearer \xff"},
            {"Cookie": "sessionid=nonsense"},
        ]:
            with begin(server, 12 * MB, headers) as client:
                wait_until(lambda: spooled(server) < MB)
                client.sendall(b"x" * 4 * MB)
                answer = client.recv(10_000)
            assert answer.startswith(b"HTTP/1.1 401 "), answer
            assert b"WWW-Authenticate: Bearer" in answer
            assert b'"code": "unauthorized"' in answer
        with begin(server, 12 * MB, headers_of(newcomer())):
            wait_until(lambda: spooled(server) > 11 * MB)
        wait_until(lambda: spooled(server) < MB)


def test_few_large_bodies_are_under_way_at_once():
    headers = headers_of(newcomer())
    with live_server("daphne") as server, contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(begin(server, 3 * MB, headers)) for _ in range(8)]
        wait_until(lambda: spooled(server) > 8 * 3 * MB - MB)
        send: dict[str, Any] = {"headers": {**headers, "Content-Type": MULTIPART}, "timeout": 30}
        answer = httpx.post(f"{server.url}/api/v1/jobs", content=form(3 * MB), **send)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert 'hub_refusals_total{reason="uploads"} 1.0' in httpx.get(f"{server.url}/metrics").text
        assert answer.json()["error"]["code"] == "unavailable"
        small = httpx.post(f"{server.url}/api/v1/jobs", content=form(MB), **send)
        assert small.status_code == 404
        waiting[0].close()
        wait_until(
            lambda: (
                httpx.post(f"{server.url}/api/v1/jobs", content=form(3 * MB), **send).status_code
                == 404
            )
        )


def test_nginx_lets_the_same_forms_through():
    conf = (ROOT / "deploy" / "nginx.conf").read_text(encoding="utf-8")
    place, inside = re.findall(r"location ~ \^(\S+)\$ \{([^}]*)\}", conf)[0]
    # The hub itself says what is too large, as long as it reads it.
    assert "client_max_body_size 64m;" in inside
    assert "proxy_request_buffering off;" in inside
    for path in ["/api/v1/jobs", "/jobs/start/a.b/", "/api/v1/jobs/external", "/jobs/", "/x/api/v1/jobs",
                 "/jobs/start/a/b/"]:  # fmt: skip
        takes = bodies.limit("POST", path, MULTIPART, MB) == bodies.WITH_FILES
        assert bool(re.fullmatch(place, path)) == takes, path


# --- downloads ------------------------------------------------------------------------------------------------------


def test_a_large_download_waits_for_who_reads_slowly():
    user = newcomer()
    job = jobs.claim(jobs.create(kind="shop.export", title="Export", owner=user).pk, 1, 3600)
    assert job is not None
    with files.result(job, "big.csv", "text/csv") as out:
        for _ in range(60):
            out.write(b"x" * MB)
    path = f"/api/v1/jobs/{job.pk}/files/{out.file.pk}"
    with live_server("daphne") as server:
        headers = headers_of(user)
        assert httpx.get(f"{server.url}/api/v1/me", headers=headers).status_code == 200
        before = memory(pid_of(server))
        host, port = server.host.split(":")
        with socket.create_connection((host, int(port)), timeout=30) as client:
            head = f"GET {path} HTTP/1.1\r\nHost: {server.host}\r\n"
            client.sendall((head + f"Authorization: {headers['Authorization']}\r\n\r\n").encode())
            time.sleep(2)
            assert memory(pid_of(server)) - before < 20 * MB
            size = 0
            while size < 60 * MB:
                size += len(client.recv(MB))
            assert memory(pid_of(server)) - before < 20 * MB
        answer = httpx.get(f"{server.url}{path}", headers=headers, timeout=30)
        assert answer.content == b"x" * 60 * MB
        assert "rror" not in server.said(), server.said()


def test_asked_to_stop_it_lets_nobody_in_and_answers_what_it_was_asked():
    user = newcomer("admin", is_superuser=True, is_staff=True)
    _, secret = make_key(user, "stop")
    body = {"topic": "group.dashboard", "type": "test.stop", "data": {"mark": secret[:8]}}
    with live_server("daphne") as server, ThreadPoolExecutor(1) as pool:
        process = server.streams.process
        assert process is not None
        with transaction.atomic():
            if connection.vendor == "postgresql":
                with connection.cursor() as cursor:
                    cursor.execute("LOCK TABLE hub_events_event IN EXCLUSIVE MODE")
            asked = pool.submit(
                httpx.post,
                f"{server.url}/api/v1/events",
                json=body,
                headers={"Authorization": f"Bearer {secret}"},
                timeout=20,
            )
            time.sleep(1)  # it waits for the lock by now
            process.send_signal(signal.SIGTERM)
            time.sleep(1)
            assert process.poll() is None
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{server.url}/healthz")
        answer = asked.result(20)
        assert answer.status_code == 201
        assert process.wait(10) == 0


def test_a_thread_that_never_ends_does_not_keep_the_process():
    said = "import threading; from hub import server; server._end_by_force(0.2); threading.Event().wait()"
    done = subprocess.run(
        [sys.executable, "-c", said], cwd=ROOT, env=child_environment(8000), timeout=30, check=False
    )
    assert done.returncode == 70


def test_who_answers_no_ping_is_counted_as_who_does_not_read():
    program = """
from hub import server
from accounts import refusals
protocol = server.HubWebSocket()
dropped = []
protocol.dropConnection = lambda abort: dropped.append(abort)
for state in (protocol.STATE_OPEN, protocol.STATE_CLOSING):
    protocol.state = state
    protocol.onAutoPingTimeout()
print(dropped, refusals._COUNTER.labels("slow_reader")._value.get())
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=child_environment(8000),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["[True,", "True]", "1.0"]
