"""What the server itself holds back, before an application sees it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live import live_server

pytestmark = pytest.mark.usefixtures("live_db")
MB = 1024 * 1024


def memory(pid: int) -> int:
    """The most this process ever held, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    raise AssertionError("no VmHWM")


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
