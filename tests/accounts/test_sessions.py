"""The list of somebody's sessions is true."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import HASH_SESSION_KEY, update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import OperationalError, connection
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import path
from django.utils import timezone

from accounts import sessions
from accounts.models import SignIn

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]


@login_required
def page(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.user.get_username())


@login_required
def change_password(request: HttpRequest) -> HttpResponse:
    user = User.objects.get(username=request.user.get_username())
    user.set_password("another-password-1")
    user.save()
    update_session_auth_hash(request, user)
    return HttpResponse()


urlpatterns = [path("page/", page), path("change/", change_password), path("api/page/", page)]


@pytest.fixture
def chrome(alice: User) -> Client:
    client = Client(headers={"user-agent": "Chrome/1" + "x" * 500}, REMOTE_ADDR="192.0.2.1")
    client.force_login(alice)
    return client


def test_a_sign_in_is_noted_with_place_and_browser(alice: User) -> None:
    from django.contrib.auth import login
    from django.test import RequestFactory

    request = RequestFactory().get(
        "/", REMOTE_ADDR="192.0.2.1", headers={"user-agent": "Fox" + "x" * 500}
    )
    request.session = Client().session
    login(request, alice)
    request.session.save()
    (row,) = sessions.list_for(alice)
    assert row.session_key == request.session.session_key
    assert (row.ip, row.agent[:4], len(row.agent)) == ("192.0.2.1", "Foxx", 300)


def test_signing_in_as_somebody_else_leaves_no_session_behind(alice: User, bob: User) -> None:
    client = Client()
    client.force_login(alice)
    client.force_login(bob)
    assert sessions.list_for(alice) == []
    assert len(sessions.list_for(bob)) == 1


def test_dead_sessions_are_not_listed_and_their_rows_go(alice: User) -> None:
    clients = [Client() for _ in range(4)]
    for client in clients:
        client.force_login(alice)
    keys = [client.session.session_key for client in clients]
    Session.objects.filter(session_key=keys[0]).delete()
    Session.objects.filter(session_key=keys[1]).update(expire_date=timezone.now())
    assert {row.session_key for row in sessions.list_for(alice)} == set(keys[2:])
    assert SignIn.objects.count() == 2


def test_pruning_drops_what_nobody_lists(alice: User, bob: User) -> None:
    for user in (alice, bob):
        Client().force_login(user)
    Session.objects.filter(session_key=SignIn.objects.get(user=bob).session_key).delete()
    assert sessions.prune() == 1
    assert SignIn.objects.get().user == alice
    assert sessions.prune() == 0


def test_walking_through_pages_moves_seen_at_every_few_minutes(chrome: Client) -> None:
    old = timezone.now() - timedelta(hours=1)
    SignIn.objects.update(seen_at=old)
    chrome.get("/page/")
    seen = SignIn.objects.get().seen_at
    assert seen > old + timedelta(minutes=59)
    chrome.get("/page/")
    assert SignIn.objects.get().seen_at == seen


def test_a_second_look_costs_no_query_of_ours(chrome: Client) -> None:
    chrome.get("/page/")
    with CaptureQueriesContext(connection) as captured:
        chrome.get("/page/")
    assert not [query for query in captured if "signin" in query["sql"]]


def test_a_session_from_before_gets_its_row(chrome: Client, alice: User) -> None:
    SignIn.objects.all().delete()
    chrome.get("/page/")
    (row,) = sessions.list_for(alice)
    assert row.session_key == chrome.session.session_key
    assert row.agent.startswith("Chrome")


def test_the_api_is_left_alone(chrome: Client) -> None:
    SignIn.objects.all().delete()
    chrome.get("/api/page/")
    assert not SignIn.objects.exists()


def test_a_password_change_keeps_this_session_and_ends_the_others(
    chrome: Client, alice: User
) -> None:
    other = Client()
    other.force_login(alice)
    key, made = chrome.session.session_key, SignIn.objects.earliest("pk").created_at
    chrome.get("/change/")
    alice.refresh_from_db()
    assert chrome.session.session_key != key
    (row,) = sessions.list_for(alice)
    assert (row.session_key, row.created_at) == (chrome.session.session_key, made)
    assert chrome.get("/page/").content == b"alice"
    assert other.get("/page/").status_code == 302


def test_a_rotated_secret_key_keeps_the_row(chrome: Client, alice: User, settings: Any) -> None:
    key, old = chrome.session.session_key, settings.SECRET_KEY
    settings.SECRET_KEY = "a-new-secret-key-of-reasonable-length-0123456789"
    settings.SECRET_KEY_FALLBACKS = [old]
    assert chrome.get("/page/").content == b"alice"
    (row,) = sessions.list_for(alice)
    assert row.session_key == chrome.session.session_key == key
    assert chrome.session[HASH_SESSION_KEY] == alice.get_session_auth_hash()


def test_a_rotated_secret_key_waits_once_for_a_database_that_is_away(
    chrome: Client, settings: Any
) -> None:
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a-new-secret-key-of-reasonable-length-0123456789"
    asked: list[str] = []

    def away(_execute: Any, sql: str, *_rest: Any) -> None:
        asked.append(sql)
        raise OperationalError("away")

    with connection.execute_wrapper(away):
        assert chrome.get("/page/").status_code == 503
    assert len(asked) == 1


def test_nobody_costs_nothing(db: None) -> None:
    with CaptureQueriesContext(connection) as captured:
        Client().get("/page/")
    assert len(captured) == 0


def test_a_database_that_is_locked_drops_the_note_not_the_page(
    chrome: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from django.db import OperationalError

    def locked(*_: Any) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(sessions, "seen", locked)
    assert chrome.get("/page/").content == b"alice"


def test_pruning_takes_bounded_bites(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_CHUNK", 4)
    SignIn.objects.bulk_create(SignIn(user=alice, session_key=f"gone{n}") for n in range(10))
    alive = Client()
    alive.force_login(alice)
    SignIn.objects.bulk_create(SignIn(user=alice, session_key=f"later{n}") for n in range(5))
    load, asked = sessions.load, []

    def counting(keys: Any) -> Any:
        asked.append(len(keys))
        return load(keys)

    monkeypatch.setattr(sessions, "load", counting)
    assert sessions.prune() == 15
    assert max(asked) == 4
    assert SignIn.objects.get().session_key == alive.session.session_key


def test_an_account_read_too_early_costs_no_rows(alice: User) -> None:
    stale = User.objects.get(pk=alice.pk)
    client = Client()
    client.force_login(alice)
    client.get("/change/")
    client.get("/page/")
    assert sessions.list_for(stale) == []
    assert len(sessions.list_for(User.objects.get(pk=alice.pk))) == 1
