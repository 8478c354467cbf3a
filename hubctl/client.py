"""The hub's HTTP API: every answer is its JSON, or raises Refused or Away."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Final, Self

import httpx

from hubctl import __version__
from hubctl.config import Config
from hubctl.errors import Away, HubctlError, Refused, Unusable

API: Final = "/api/v1"
TIMEOUT: Final = httpx.Timeout(15, connect=5)
"""Seconds; an answer takes milliseconds, or the hub is in trouble."""


class Hub:
    def __init__(self, config: Config) -> None:
        """Raises Unusable."""
        self.url = config.url
        headers = {
            "Authorization": f"Bearer {config.key}",
            "User-Agent": f"hubctl/{__version__}",
        }
        # No redirects: the key goes to the configured address and nowhere else.
        try:
            self._http = httpx.Client(base_url=config.url, headers=headers, timeout=TIMEOUT)
        except (OSError, ValueError, httpx.InvalidURL) as error:  # also of proxies and certificates
            raise Unusable(f"{config.url} can't be used: {error}") from None

    def get(self, path: str, **query: str | int | None) -> dict[str, Any]:
        given = {name: value for name, value in query.items() if value is not None}
        return self._ask("GET", path, params=given)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._send("POST", path, body or {})

    def post_text(self, path: str, text: str) -> dict[str, Any]:
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        return self._ask("POST", path, content=text.encode(), headers=headers)

    def post_form(self, path: str, fields: Iterable[tuple[str, str | BinaryIO]]) -> dict[str, Any]:
        """As `multipart/form-data`: texts, and open files under their own names."""
        parts = [
            # An argument of the command line may hold bytes that are no text.
            (name, (None, value.encode("utf-8", "replace")))
            if isinstance(value, str)
            else (name, (Path(value.name).name, value))
            for name, value in fields
        ]
        return self._ask("POST", path, files=parts)

    def patch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return self._send("PATCH", path, body)

    def poll(self, topic: str, cursor: str, wait: int) -> dict[str, Any]:
        """Until something happens on the topic, or so many seconds."""
        query = {"topics": topic, "cursor": cursor, "wait": str(wait)}
        timeout = httpx.Timeout(wait + 15, connect=5)
        return self._ask("GET", "/events/long-poll", params=query, timeout=timeout)

    def stream(
        self, topics: list[str], cursor: str | None, silence: float
    ) -> AbstractContextManager[httpx.Response]:
        """`/events/stream`; ends with httpx.ReadTimeout after so many seconds without a byte."""
        return self._http.stream(
            "GET",
            "/events/stream",
            params={"topics": ",".join(topics)} if topics else None,
            headers={"Last-Event-ID": cursor} if cursor else None,
            timeout=httpx.Timeout(silence, connect=5),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    def _send(self, method: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        encoded = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        headers = {"Content-Type": "application/json"}
        return self._ask(method, path, content=encoded, headers=headers)

    def _ask(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        address = path if path.startswith("/events/") else API + path
        try:
            response = self._http.request(method, address, **request)
        except httpx.HTTPError as error:
            raise away(error, self.url) from None
        if not response.is_success:
            raise refusal(response)
        if response.status_code == 204:
            return {}
        value = _json_of(response)
        if not isinstance(value, dict):
            raise Refused(f"what answers at {self.url} is not the hub: check HUB_URL", 200)
        return value


def away(error: httpx.HTTPError, url: str) -> Away:
    reason = str(error) or type(error).__name__
    return Away(f"the hub at {url} can't be reached: {reason}")


def refusal(response: httpx.Response) -> HubctlError:
    """What an answer that is no success means. Its body must have been read."""
    status = response.status_code
    given = _json_of(response)
    error = given.get("error") if isinstance(given, dict) else None
    detail = str(error.get("detail", "")) if isinstance(error, dict) else ""
    if status == 429 or status >= 500:
        detail = detail or f"HTTP {status}"
        return Away(f"the hub can't answer now: {detail}", status, _retry_after(response))
    if isinstance(error, dict) and isinstance(error.get("fields"), dict) and error["fields"]:
        parts = (f"{name}: {str(what).rstrip('.')}" for name, what in error["fields"].items())
        detail = "; ".join(parts) + "."
    if status in {301, 302, 303, 307, 308}:
        place = response.headers.get("Location", "somewhere else")
        return Refused(f"the hub sends us to {place}: set HUB_URL to its real address", status)
    if not detail:
        return Refused(
            f"HTTP {status} without a reason: is HUB_URL the address of the hub?", status
        )
    advice = {401: " Check HUB_API_KEY, or make a new key in the hub's settings."}.get(status, "")
    return Refused(f"the hub refused: {detail}{advice}", status)


def _json_of(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None


def _retry_after(response: httpx.Response) -> float | None:
    try:
        seconds = float(response.headers.get("Retry-After", ""))
    except ValueError:
        return None
    return min(seconds, 600) if seconds >= 0 and math.isfinite(seconds) else None
