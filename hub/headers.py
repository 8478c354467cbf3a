"""What every page says to the browser, and whom a request behind our proxy came from."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

GetResponse = Callable[[HttpRequest], HttpResponseBase]


def policy() -> str:
    """No inline script, no inline style, nothing from elsewhere; sockets to our own host."""
    sockets = settings.HUB_URL.replace("http", "ws", 1)
    return "; ".join(
        [
            "default-src 'self'",
            f"connect-src 'self' {sockets}",
            "img-src 'self' data:",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        ]
    )


def protect(response: HttpResponseBase) -> None:
    """What every answer carries, unless it says otherwise itself."""
    response.headers.setdefault("Content-Security-Policy", policy())
    response.headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    response.headers.setdefault(
        "Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"
    )


def guard(get_response: GetResponse) -> GetResponse:
    def middleware(request: HttpRequest) -> HttpResponseBase:
        if settings.HUB_PROXY:
            _believe_the_proxy(request)
        response = get_response(request)
        protect(response)
        return response

    return middleware


def _believe_the_proxy(request: HttpRequest) -> None:
    """X-Real-IP is one address that the proxy writes itself; X-Forwarded-For begins with what the client claims."""
    claimed = request.META.get("HTTP_X_REAL_IP", "")
    try:
        request.META["REMOTE_ADDR"] = str(ipaddress.ip_address(claimed))
    except ValueError:
        return
