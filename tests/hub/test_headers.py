"""Every page tells the browser to run nothing but our files, and the admin works under it."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.http import HttpResponse
from django.test import Client, RequestFactory, override_settings

from hub import headers

INLINE = re.compile(
    rb"<style|\sstyle=|<script(?![^>]*\ssrc=)(?![^>]*application/json)|\son[a-z]+=|javascript:",
    re.IGNORECASE,
)


def test_every_answer_carries_the_policy(client: Client, db: None) -> None:
    for path in ("/admin/login/", "/no-such-page/"):
        answer = client.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert "connect-src 'self' ws://localhost:8000" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["X-Frame-Options"] == "DENY"


@pytest.mark.parametrize(
    "path",
    ["/admin/", "/admin/auth/user/", "/admin/auth/user/add/", "/admin/auth/group/add/"],
)
def test_the_admin_has_nothing_inline(client: Client, admin: User, path: str) -> None:
    client.force_login(admin)
    answer = client.get(path)
    assert answer.status_code == 200
    assert INLINE.search(answer.content) is None


def test_the_sockets_of_a_secure_hub_are_secure() -> None:
    with override_settings(HUB_URL="https://hub.example.org"):
        assert "connect-src 'self' wss://hub.example.org;" in headers.policy()


@pytest.mark.parametrize(
    ("trusted", "claimed", "seen"),
    [
        (True, "203.0.113.9", "203.0.113.9"),
        (True, "2001:db8::1", "2001:db8::1"),
        (True, "nonsense\r\n", "127.0.0.1"),
        (False, "203.0.113.9", "127.0.0.1"),
    ],
)
def test_only_a_proxy_of_ours_says_who_asks(trusted: bool, claimed: str, seen: str) -> None:
    request = RequestFactory().get("/", HTTP_X_REAL_IP=claimed)
    request.META["HTTP_X_FORWARDED_FOR"] = "198.51.100.1"
    with override_settings(HUB_PROXY=trusted):
        headers.guard(lambda _: HttpResponse())(request)
    assert request.META["REMOTE_ADDR"] == seen
