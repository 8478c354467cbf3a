"""No input that fits the API's own description, or nearly does, makes it break."""

from __future__ import annotations

import json
import warnings
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests
from django.contrib.auth.models import User
from django.test import Client
from django.urls import resolve
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from accounts.authenticate import make_key
from hub.api import api, unknown

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis import GenerationMode

pytestmark = pytest.mark.django_db

EXAMPLES = 15
"""For each operation and mode: bounded, and the same on every run."""


def _described(found: Any) -> Any:
    return found.ok()


_SCHEMA = schemathesis.openapi.from_dict(
    json.loads(json.dumps(api.get_openapi_schema(path_prefix="/api/v1/"), default=str))
)
_OPERATIONS: dict[str, Any] = {
    one.label: one for one in map(_described, _SCHEMA.get_all_operations())
}


def test_every_operation_is_tried() -> None:
    described = api.get_openapi_schema(path_prefix="/api/v1/")["paths"]
    assert len(_OPERATIONS) == sum(map(len, described.values()))


@pytest.mark.parametrize("mode", list(GenerationMode))
@pytest.mark.parametrize("label", sorted(_OPERATIONS))
@pytest.mark.parametrize("who", ["key", "nobody"])
def test_no_input_makes_it_break(admin: User, who: str, label: str, mode: Any) -> None:
    client = Client()
    client.raise_request_exception = False
    headers = {}
    if who == "key":
        headers["authorization"] = f"Bearer {make_key(admin, 'fuzz')[1]}"
    found = []
    cases = _OPERATIONS[label].as_strategy(generation_mode=mode)

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=cases)
    def run(case: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = case.as_transport_kwargs(base_url="http://testserver")
            sent = requests.Request(
                **{name: value for name, value in wanted.items() if name in _SENT}
            ).prepare()
        body = sent.body.encode() if isinstance(sent.body, str) else sent.body or b""
        response = client.generic(
            str(sent.method),
            sent.path_url,
            body,
            content_type=str(sent.headers.get("Content-Type", "application/json")),
            headers=headers,
        )
        found.append(response.status_code)
        assert response.status_code < 500, (sent.method, sent.path_url, body, response.content)
        if response.status_code >= 400:
            assert set(response.json()) == {"error"}
        if who == "nobody":
            path = unquote(urlsplit(sent.path_url).path)
            is_nowhere = resolve(path).func is unknown
            assert response.status_code == (404 if is_nowhere else 401), sent.path_url

    run()
    assert found


_SENT = {"method", "url", "headers", "params", "json", "data", "cookies"}


@pytest.mark.parametrize("path", ["/api/v1/me", "/api/v1/events", "/api/v1/presence"])
def test_no_header_makes_it_break(alice: User, path: str) -> None:
    client = Client()
    client.force_login(alice)

    @settings(max_examples=60, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(
        name=st.sampled_from(["authorization", "origin", "cookie", "x-csrftoken", "content-type"]),
        value=st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=300)
        | st.sampled_from(["http://[", "Bearer \x00", "null", "sessionid=\x00; csrftoken=é"]),
        method=st.sampled_from(["GET", "POST", "PUT", "OPTIONS", "HEAD"]),
    )
    def run(name: str, value: str, method: str) -> None:
        response = client.generic(method, path, b"{}", headers={name: value})
        assert response.status_code < 500

    run()
