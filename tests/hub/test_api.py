"""The shape of the API: errors, credentials, origins, and who gets which answer."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import InterfaceError, OperationalError
from django.test import Client

from accounts import audience, profiles
from accounts.authenticate import make_key
from events import epoch, log, redis_client
from hub.api import BODY_LIMIT

pytestmark = pytest.mark.django_db

EVENT = {"topic": "group.sales", "type": "order.late", "data": {"order": 7}}


class Caller(Client):
    """A test client that speaks JSON; `key` or `as_` says who calls."""

    def __init__(self, *, key: str = "", user: User | None = None, **kwargs: Any) -> None:
        super().__init__(enforce_csrf_checks=True, **kwargs)
        self.headers_ = {"authorization": f"Bearer {key}"} if key else {}
        if user is not None:
            self.force_login(user)
            self.headers_ = {"origin": "http://testserver"}

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        content = body if isinstance(body, (bytes, str)) else json.dumps(body)
        return self.generic(
            method,
            f"/api/v1{path}",
            b"" if body is None else content,
            content_type="application/json",
            headers={**self.headers_, **headers},
        )


def refused(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"].startswith("application/json")
    error: dict[str, Any] = response.json()["error"]
    assert error["code"] == code and error["detail"]
    assert set(error) <= {"code", "detail", "fields"}
    assert "Traceback" not in response.content.decode()
    return error


@pytest.fixture
def key_of(db: None):
    return lambda user, *scopes: make_key(user, "test", scopes or None)[1]


def test_a_number_that_would_be_stored_as_another_is_refused(admin, key_of):
    caller = Caller(key=key_of(admin))
    for number, status in [(2**63, 201), (-(2**63), 201), (2**64, 400), (-(10**30), 400)]:
        body = {**EVENT, "data": {"n": number, "text": "12345678901234567890123"}}
        assert caller.ask("POST", "/events", body).status_code == status


# --- errors ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/nosuch", "/", "", "/me/", "/events/1/2", "/../v2/me"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_an_unknown_address_is_404_in_the_shape(method: str, path: str) -> None:
    refused(Caller().ask(method, path), 404, "not_found")


def test_another_version_is_404_in_the_shape() -> None:
    refused(Client().get("/api/v2/me"), 404, "not_found")
    refused(Client().get("/api/"), 404, "not_found")


def test_a_method_that_is_not_there_is_405_with_allow(alice: User) -> None:
    response = Caller(user=alice).ask("DELETE", "/me")
    refused(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == "GET"


@pytest.mark.parametrize(
    "body", [b"{", b"", b"\xff", b"nonsense", b'{"a": NaN}', b'{"topic": "\\ud800"}',
             b'{"topic": "group.sales", "type": "a.b", "data": {"a": "\\u0000"}}', b"[" * 5000]
)  # fmt: skip
def test_a_body_that_is_no_json_is_400_or_422(alice: User, body: bytes) -> None:
    response = Caller(user=alice).ask("POST", "/events", body)
    if body:
        refused(response, 400, "bad_request")
    else:
        refused(response, 422, "invalid")


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"7", b"null", b"true", b"[[1]]"])
def test_json_that_is_no_object_is_422(alice: User, body: bytes) -> None:
    refused(Caller(user=alice).ask("POST", "/events", body), 422, "invalid")


@pytest.mark.parametrize("body", [b'"title"', b"[1]", b"null"])
def test_a_body_that_is_no_object_is_told_so(admin: User, body: bytes) -> None:
    error = refused(Caller(user=admin).ask("POST", "/announcements", body), 422, "invalid")
    assert error["fields"] == {"body": "must be an object"}


@pytest.mark.parametrize("kind", ["multipart/form-data", "application/x-www-form-urlencoded"])
def test_a_form_is_refused_and_json_is_read_whatever_it_calls_itself(
    admin: User, key_of: Any, kind: str
) -> None:
    def post(body: bytes) -> Any:
        headers = {"authorization": f"Bearer {key_of(admin)}"}
        return Client().generic("POST", "/api/v1/announcements", body, kind, headers=headers)

    error = refused(post(b"title=a"), 400, "bad_request")
    assert f"sent as {kind}" in error["detail"] and "application/json" in error["detail"]
    assert post(b'{"title": "a"}').json()["title"] == "a"


def test_what_does_not_validate_names_its_fields(alice: User) -> None:
    error = refused(
        Caller(user=alice).ask(
            "POST", "/events", {"topic": "group.sales", "type": "x", "data": []}
        ),
        422,
        "invalid",
    )
    assert set(error["fields"]) == {"type", "data"}
    assert set(
        refused(Caller(user=alice).ask("GET", "/events?limit=0&before=x"), 422, "invalid")["fields"]
    ) == {"limit", "before"}


def test_a_body_over_the_limit_is_413(alice: User, key_of: Any) -> None:
    big = b'{"data": "' + b"x" * BODY_LIMIT + b'"}'
    refused(Caller(key=key_of(alice)).ask("POST", "/events", big), 413, "too_large")


def test_a_body_over_djangos_own_limit_is_413_too(alice: User, key_of: Any, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    refused(Caller(key=key_of(alice)).ask("POST", "/events", EVENT), 413, "too_large")


@pytest.mark.parametrize("error", [OperationalError("gone"), InterfaceError("closed")])
def test_a_database_that_is_away_is_503(
    alice: User, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    caller = Caller(user=alice)

    def away(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(audience, "default_topics", away)
    response = caller.ask("GET", "/me")
    refused(response, 503, "unavailable")
    assert int(response.headers["Retry-After"]) > 0
    assert b"gone" not in response.content


def test_a_database_that_is_away_while_signing_in_is_503(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from accounts import authenticate

    def away(*_: Any) -> Any:
        raise OperationalError("gone")

    monkeypatch.setattr(authenticate, "_hash", away)
    refused(Caller(key="hub_x").ask("GET", "/me"), 503, "unavailable")


def test_a_fault_of_ours_is_500_without_a_trace(
    alice: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(audience, "default_topics", broken)
    response = Caller(user=alice).ask("GET", "/me")
    refused(response, 500, "internal_error")
    assert b"secret" not in response.content
    assert "ZeroDivisionError" in caplog.text


# --- who calls ------------------------------------------------------------------------------------------------------


def test_nobody_is_401_on_every_operation() -> None:
    schema = Client().get("/api/v1/openapi.json").json()
    asked = 0
    for path, operations in schema["paths"].items():
        for method in operations:
            response = Client(enforce_csrf_checks=True).generic(
                method.upper(), path.replace("{", "").replace("}", ""), b"{}", "application/json"
            )
            if response.status_code == 404:  # a path parameter that wants a number
                response = Client(enforce_csrf_checks=True).generic(
                    method.upper(), _with_ones(path), b"{}", "application/json"
                )
            refused(response, 401, "unauthorized")
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            asked += 1
    assert asked >= 4


def _with_ones(path: str) -> str:
    path = path.replace("{job_id}", "00000000-0000-4000-8000-000000000001")
    return re.sub(r"\{[^}]+\}", "1", path)


def test_a_bad_key_beside_a_good_cookie_is_401(alice: User) -> None:
    caller = Caller(user=alice)
    assert caller.ask("GET", "/me").status_code == 200
    for header in ("Bearer nonsense", "Basic YTpi", "", "Bearer"):
        refused(caller.ask("GET", "/me", authorization=header), 401, "unauthorized")


def test_a_key_needs_no_origin_and_no_token(alice: User, key_of: Any) -> None:
    caller = Caller(key=key_of(alice))
    assert caller.ask("POST", "/events", EVENT).status_code == 201
    assert caller.ask("POST", "/events", EVENT, origin="http://evil.example").status_code == 201


def test_a_cookie_needs_our_origin_for_what_changes_something(alice: User) -> None:
    caller = Caller(user=alice)
    assert caller.ask("POST", "/events", EVENT).status_code == 201
    for origin in ("http://evil.example", "null", "https://testserver", "http://testserver.evil"):
        refused(caller.ask("POST", "/events", EVENT, origin=origin), 403, "bad_origin")
        assert caller.ask("GET", "/me", origin=origin).status_code == 200


def test_what_a_proxy_says_of_the_scheme_makes_no_origin_ours(alice: User) -> None:
    """Sockets go by HUB_URL too: a page that may not open one does not post."""
    caller = Caller(user=alice)
    answer = caller.generic(
        "POST",
        "/api/v1/events",
        json.dumps(EVENT),
        content_type="application/json",
        secure=True,
        headers={"origin": "https://testserver"},
    )
    refused(answer, 403, "bad_origin")


def test_a_cookie_without_an_origin_needs_the_csrf_token(alice: User) -> None:
    caller = Caller(user=alice)
    caller.headers_ = {}
    refused(caller.ask("POST", "/events", EVENT), 403, "bad_origin")
    refused(caller.ask("POST", "/events", EVENT, **{"x-csrftoken": "x" * 32}), 403, "bad_origin")
    caller.cookies["csrftoken"] = "a" * 32
    token = {"x-csrftoken": "a" * 32}
    assert caller.ask("POST", "/events", EVENT, **token).status_code == 201
    refused(
        caller.ask("POST", "/events", EVENT, origin="http://evil.example", **token),
        403,
        "bad_origin",
    )


def test_a_forged_host_makes_no_origin_ours(alice: User) -> None:
    caller = Caller(user=alice, SERVER_NAME="evil.example")
    response = caller.ask("POST", "/events", EVENT, origin="http://evil.example")
    assert response.status_code in {400, 403}
    assert not log.page("group.sales", None, 1)


def test_scopes_open_what_they_name(alice: User, key_of: Any) -> None:
    reader, publisher = Caller(key=key_of(alice, "read")), Caller(key=key_of(alice, "publish"))
    jobs = Caller(key=key_of(alice, "jobs"))
    assert reader.ask("GET", "/me").status_code == 200
    refused(reader.ask("POST", "/events", EVENT), 403, "forbidden")
    assert publisher.ask("POST", "/events", EVENT).status_code == 201
    refused(publisher.ask("GET", "/me"), 403, "forbidden")
    refused(jobs.ask("GET", "/presence?topic=group.dashboard"), 403, "forbidden")


def test_a_deactivated_account_is_401(alice: User, key_of: Any) -> None:
    by_key, by_cookie = Caller(key=key_of(alice)), Caller(user=alice)
    alice.is_active = False
    alice.save()
    refused(by_key.ask("GET", "/me"), 401, "unauthorized")
    refused(by_cookie.ask("GET", "/me"), 401, "unauthorized")


# --- roles and routes -----------------------------------------------------------------------------------------------

ROLES = ("nobody", "charlie", "alice", "admin", "reader", "publisher", "operator", "revoked")
TABLE = {
    # what is asked                       nobody charlie alice admin reader publisher operator revoked
    ("GET", "/me", None):                  (401, 200, 200, 200, 200, 403, 403, 401),
    ("GET", "/presence?topic=TEAM", None): (401, 403, 200, 200, 200, 403, 403, 401),
    ("GET", "/presence?topic=GONE", None): (401, 403, 403, 403, 403, 403, 403, 401),
    ("GET", "/events", None):              (401, 200, 200, 200, 200, 403, 403, 401),
    ("GET", "/events?topic=TEAM", None):   (401, 403, 200, 200, 200, 403, 403, 401),
    ("GET", "/events?topic=GONE", None):   (401, 403, 403, 403, 403, 403, 403, 401),
    ("GET", "/events?topic=ALICE", None):  (401, 403, 200, 403, 200, 403, 403, 401),
    ("GET", "/events?topic=NOBODY", None): (401, 403, 403, 403, 403, 403, 403, 401),
    ("GET", "/events?topic=access", None): (401, 403, 403, 403, 403, 403, 403, 401),
    ("GET", "/events?topic=group.ops", None): (401, 200, 200, 200, 200, 403, 403, 401),
    ("GET", "/events?topic=group.no", None): (401, 403, 403, 403, 403, 403, 403, 401),
    ("POST", "/events", "group.ops"):      (401, 201, 201, 201, 403, 201, 403, 401),
    ("POST", "/events", "group.no"):       (401, 403, 403, 403, 403, 403, 403, 401),
    ("POST", "/events", "group.dashboard"): (401, 403, 403, 201, 403, 403, 201, 401),
    ("POST", "/events", "group.announcements"): (401, 403, 403, 201, 403, 403, 201, 401),
    ("POST", "/events", "TEAM"):           (401, 403, 201, 201, 403, 201, 403, 401),
    ("POST", "/events", "GONE"):           (401, 403, 403, 403, 403, 403, 403, 401),
    ("POST", "/events", "ALICE"):          (401, 403, 403, 403, 403, 403, 403, 401),
    ("POST", "/events", "access"):         (401, 403, 403, 403, 403, 403, 403, 401),
    ("POST", "/events", "room.1"):         (401, 403, 403, 403, 403, 403, 403, 401),
}  # fmt: skip


def test_roles_times_routes_is_the_reviewed_table(
    alice: User, charlie: User, admin: User, key_of: Any
) -> None:
    team = Group.objects.create(name="Warehouse")
    team.user_set.add(alice)
    revoked = key_of(alice)
    alice.hub_keys.get().delete()
    callers = {
        "nobody": Caller(),
        "charlie": Caller(user=charlie),
        "alice": Caller(user=alice),
        "admin": Caller(user=admin),
        "reader": Caller(key=key_of(alice, "read")),
        "publisher": Caller(key=key_of(alice, "publish")),
        "operator": Caller(key=key_of(admin, "admin")),
        "revoked": Caller(key=revoked),
    }
    names = {
        "TEAM": f"team.{team.pk}",
        "GONE": "team.987654",
        "ALICE": f"user.{alice.pk}",
        "NOBODY": "user.987654",
    }
    answers: dict[Any, tuple[int, ...]] = {}
    told: dict[Any, dict[str, bytes]] = {}
    for asked in TABLE:
        method, path, topic = asked
        for word, name in names.items():
            path = path.replace(word, name)
        body = topic and {**EVENT, "topic": names.get(topic, topic)}
        responses = {role: callers[role].ask(method, path, body) for role in ROLES}
        answers[asked] = tuple(one.status_code for one in responses.values())
        told[asked] = {role: one.content for role, one in responses.items()}
    assert answers == TABLE
    for absent, foreign in (("GONE", "TEAM"), ("NOBODY", "ALICE")):
        asked = ("GET", f"/events?topic={absent}", None)
        assert told[asked]["charlie"] == told["GET", f"/events?topic={foreign}", None]["charlie"]


# --- what the operations do -----------------------------------------------------------------------------------------


def test_me_says_who_what_and_from_where(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    profile = profiles.of(alice)
    profile.display_name = "Alice Ahn"
    profile.save()
    monkeypatch.setattr(
        profiles, "_me_parts", {"unread": lambda user: 3, "later": lambda user: "x"}
    )
    me = Caller(user=alice).ask("GET", "/me").json()
    assert me["user"] == {"id": alice.pk, "name": "Alice Ahn", "username": "alice"}
    assert me["topics"][0] == f"user.{alice.pk}" and "group.dashboard" in me["topics"]
    assert (me["unread"], me["later"]) == (3, "x")
    assert me["cursor"].startswith(epoch.current())


@pytest.mark.django_db(transaction=True)
def test_a_published_event_stands_in_the_log_once_per_key(alice: User) -> None:
    caller = Caller(user=alice)
    for _ in range(2):
        response = caller.ask("POST", "/events", {**EVENT, "key": "k1"})
        assert (response.status_code, response.json()) == (
            201,
            {"topic": "group.sales", "key": "k1"},
        )
    assert caller.ask("POST", "/events", EVENT).json() == {"topic": "group.sales", "key": None}
    page = caller.ask("GET", "/events?topic=group.sales").json()
    assert [event["offset"] for event in page["items"]] == [2, 1]
    assert page["items"][0] | {"at": ""} == {**EVENT, "offset": 2, "at": ""}
    assert page["next"] is None and "group.sales:2" in page["cursor"]


@pytest.mark.django_db(transaction=True)
def test_the_log_is_paged_newest_first(alice: User) -> None:
    caller = Caller(user=alice)
    for n in range(5):
        caller.ask("POST", "/events", {**EVENT, "data": {"n": n}})
    first = caller.ask("GET", "/events?topic=group.sales&limit=2").json()
    assert [event["data"]["n"] for event in first["items"]] == [4, 3]
    second = caller.ask("GET", f"/events?topic=group.sales&limit=2&before={first['next']}").json()
    assert [event["data"]["n"] for event in second["items"]] == [2, 1]
    everything = caller.ask("GET", "/events").json()
    assert len(everything["items"]) == 5


@pytest.mark.parametrize("word", ["notification", "announcement", "job", "message", "room", "member", "presence", "hub"])  # fmt: skip
def test_the_hubs_own_types_are_refused(admin: User, word: str) -> None:
    body = {**EVENT, "type": f"{word}.created"}
    refused(Caller(user=admin).ask("POST", "/events", body), 422, "invalid")
    assert not log.page("group.sales", None, 1)


@pytest.mark.parametrize("kind", ["", "x", "x.", ".x", "X.y", "x.Y", "x y.z", "x..y", "x.y\n", "1.x", "é.x", "x." + "y" * 100])  # fmt: skip
def test_types_follow_the_pattern(alice: User, kind: str) -> None:
    refused(Caller(user=alice).ask("POST", "/events", {**EVENT, "type": kind}), 422, "invalid")


def test_data_over_32_kib_is_413_and_leaves_nothing(alice: User) -> None:
    caller = Caller(user=alice)
    body = {**EVENT, "data": {"text": "x" * 33_000}, "key": "big"}
    refused(caller.ask("POST", "/events", body), 413, "too_large")
    assert caller.ask("POST", "/events", {**body, "data": {}}).status_code == 201


def test_too_many_events_are_429_with_retry_after(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accounts import api

    monkeypatch.setattr(api, "EVENTS_PER_MINUTE", 2)
    monkeypatch.setattr(redis_client, "prefix", lambda: "hub-test-429")
    caller = Caller(user=alice)
    answers = [caller.ask("POST", "/events", EVENT) for _ in range(3)]
    assert [one.status_code for one in answers] == [201, 201, 429]
    refused(answers[-1], 429, "too_many_requests")
    assert 0 < int(answers[-1].headers["Retry-After"]) <= 60


def test_html_in_data_comes_back_as_it_was(alice: User) -> None:
    caller = Caller(user=alice)
    hostile = {"text": "<script>alert(1)</script>\r\nid: 5", "</script>": "&amp;"}
    assert caller.ask("POST", "/events", {**EVENT, "data": hostile}).status_code == 201


def test_nobody_is_here_when_nobody_is(alice: User) -> None:
    assert Caller(user=alice).ask("GET", "/presence?topic=group.dashboard").json() == {"people": []}
    refused(Caller(user=alice).ask("GET", "/presence"), 422, "invalid")


# --- documentation --------------------------------------------------------------------------------------------------


def test_the_docs_load_nothing_from_elsewhere_and_run_no_inline_script(settings: Any) -> None:
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}
    response = Client().get("/api/v1/docs")
    page = response.content.decode()
    assert response.status_code == 200
    assert "//cdn" not in page and not re.search(r'(src|href)="(https?:)?//', page)
    for attributes, text in re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL):
        assert "src=" in attributes or "application/json" in attributes or not text.strip()
    assert "<style" not in page and " style=" not in page and "onload" not in page
