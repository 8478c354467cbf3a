"""Every change of somebody's rights is told to live connections, in the transaction that makes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.contrib.sessions.models import Session
from django.db import transaction
from django.test import Client

from accounts import access, sessions
from accounts.authenticate import from_request_headers, make_key, still_valid
from accounts.models import SignIn
from events import log, topics
from events.models import Event
from tests.accounts.credentials import browser, by_key, by_session
from tests.people import PASSWORD

pytestmark = pytest.mark.django_db(transaction=True)


class Told:
    """What connections hear between two looks."""

    def __init__(self) -> None:
        self.seen = 0
        self()

    def __call__(self) -> dict[str, set[Any]]:
        heard: dict[str, set[Any]] = {
            kind: set() for kind in ("users", "sessions", "keys", "topics")
        }
        for event in log.after(topics.ACCESS, self.seen, 1000):
            assert event.type == "hub.access"
            self.seen = event.offset
            for kind, values in event.data.items():
                heard[kind].update(values)
        return heard


@pytest.fixture
def told(db: None) -> Callable[[], Told]:
    return Told


def test_logging_out_tells_when_the_session_is_gone(
    alice: User, told: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, key = browser(alice)
    credential = by_session(key)
    news, answers, changed = told(), [], access.changed

    def ask_at_once(**what: Any) -> None:
        changed(**what)
        answers.append(still_valid([credential]))

    monkeypatch.setattr(access, "changed", ask_at_once)
    _log_out(client)
    assert news()["sessions"] == {sessions.digest(key)}
    assert answers == [set()]
    assert not SignIn.objects.exists()


def _log_out(client: Client) -> None:
    from django.contrib.auth import logout
    from django.http import HttpRequest

    request = HttpRequest()
    request.session = client.session
    request.user = User.objects.get(pk=client.session["_auth_user_id"])
    logout(request)


def test_a_password_change_tells_and_keeps_only_the_session_that_made_it(
    alice: User, told: Any
) -> None:
    from django.contrib.auth import update_session_auth_hash
    from django.http import HttpRequest

    (mine, old_key), (_, other_key) = browser(alice), browser(alice)
    credentials = [by_session(key) for key in (old_key, other_key)]
    news = told()
    request = HttpRequest()
    request.session, request.user = mine.session, alice
    alice.set_password("another-password-1")
    alice.save()
    update_session_auth_hash(request, alice)
    request.session.save()
    assert alice.pk in news()["users"]
    assert still_valid(credentials) == set()
    assert from_request_headers(None, request.session.session_key) is not None


def test_the_page_that_changes_a_password_tells_when_its_answer_is_out(
    alice: User, told: Any
) -> None:
    from django.test import RequestFactory

    from accounts.passwords import PasswordChangeView

    client, key = browser(alice)
    news = told()
    passwords = {"new_password1": "another-word-1", "new_password2": "another-word-1"}
    request = RequestFactory().post("/", {"old_password": PASSWORD, **passwords})
    request.session, request.user = client.session, alice
    request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]
    response = PasswordChangeView.as_view(success_url="/")(request)
    assert response.status_code == 302
    assert news()["users"] == set()
    response.close()
    heard = news()
    assert (heard["users"], heard["sessions"]) == ({alice.pk}, {sessions.digest(key)})
    response.close()
    assert news()["users"] == set()


def test_deactivating_tells(alice: User, told: Any) -> None:
    news = told()
    alice.is_active = False
    alice.save()
    assert news()["users"] == {alice.pk}


def test_losing_the_superuser_flag_tells(admin: User, told: Any) -> None:
    news = told()
    admin.is_superuser = False
    admin.save(update_fields=["is_superuser"])
    assert news()["users"] == {admin.pk}


def test_signing_in_and_renaming_are_no_news(alice: User, told: Any) -> None:
    news = told()
    assert Client().login(username="alice", password=PASSWORD)
    alice.first_name = "Alice"
    alice.save(update_fields=["first_name"])
    User.objects.create_user("newcomer")
    assert not any(news().values())


def test_deleting_an_account_tells(alice: User, told: Any) -> None:
    key, _ = make_key(alice, "k")
    key_id, alice_id = key.pk, alice.pk
    news = told()
    alice.delete()
    heard = news()
    assert (heard["users"], heard["keys"]) == ({alice_id}, {key_id})


def change_by(verb: str, team: Group, user: User) -> None:
    {
        "team removes": lambda: team.user_set.remove(user),
        "team clears": lambda: team.user_set.clear(),
        "team sets": lambda: team.user_set.set([]),
        "user removes": lambda: user.groups.remove(team),
        "user clears": lambda: user.groups.clear(),
        "user sets": lambda: user.groups.set([]),
    }[verb]()


@pytest.mark.parametrize(
    "verb",
    ["team removes", "team clears", "team sets", "user removes", "user clears", "user sets"],
)
def test_leaving_a_team_tells(alice: User, told: Any, verb: str) -> None:
    team = Group.objects.create(name="Warehouse")
    news = told()
    team.user_set.add(alice)
    assert news()["users"] == {alice.pk}
    change_by(verb, team, alice)
    assert news()["users"] == {alice.pk}


@pytest.mark.parametrize("by", ["instance", "queryset"])
def test_deleting_a_team_tells_members_and_superusers(
    alice: User, bob: User, admin: User, told: Any, by: str
) -> None:
    team = Group.objects.create(name="Warehouse")
    team.user_set.add(alice)
    news = told()
    team.delete() if by == "instance" else Group.objects.filter(pk=team.pk).delete()
    assert news()["users"] == {alice.pk, admin.pk}


def test_revoking_and_deleting_a_key_tells(alice: User, told: Any) -> None:
    news = told()
    key, secret = make_key(alice, "k")
    credential = by_key(secret)
    assert news()["keys"] == set()
    access.revoke(key)
    assert news()["keys"] == {key.pk}
    assert still_valid([credential]) == set()
    key_id = key.pk
    key.delete()
    assert news()["keys"] == {key_id}


def test_ending_a_session_tells_and_ends_it(alice: User, bob: User, told: Any) -> None:
    client, key = browser(alice)
    row = SignIn.objects.get(session_key=key)
    news = told()
    assert not access.end_session(bob, row.pk)
    assert not access.end_session(alice, 987654)
    assert news()["sessions"] == set()
    assert access.end_session(alice, row.pk)
    assert news()["sessions"] == {sessions.digest(key)}
    assert from_request_headers(None, key) is None
    assert "_auth_user_id" not in client.session


def test_a_session_deleted_by_any_hand_tells(alice: User, told: Any) -> None:
    _, key = browser(alice)
    anonymous = Client().session
    anonymous["x"] = 1
    anonymous.save()
    news = told()
    Session.objects.all().delete()
    assert news()["sessions"] == {sessions.digest(key)}


def test_the_news_rolls_back_with_the_change(alice: User, told: Any) -> None:
    news = told()
    team = Group.objects.create(name="Warehouse")
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        team.user_set.add(alice)
        raise ZeroDivisionError
    assert news()["users"] == set()


def test_thousands_fit(told: Any) -> None:
    news = told()
    access.changed(
        users=range(1, 2001),
        sessions=(sessions.digest(str(n)) for n in range(700)),
        keys=[5],
        topics=[topics.room(n) for n in range(1, 401)],
    )
    heard = news()
    assert (len(heard["users"]), len(heard["sessions"]), heard["keys"]) == (2000, 700, {5})
    assert len(heard["topics"]) == 400


def test_session_keys_never_stand_in_the_log(alice: User, told: Any) -> None:
    _, key = browser(alice)
    Session.objects.all().delete()
    assert not Event.objects.filter(data__contains=key).exists()


def test_sessions_without_a_table_listen_to_no_deletion(settings: Any) -> None:
    from django.db.models.signals import post_delete

    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    sessions._engine.cache_clear()
    try:
        post_delete.disconnect(sender=Session, dispatch_uid="hub-access")
        access.connect()
        Group.objects.create(name="sales").delete()
    finally:
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
        sessions._engine.cache_clear()
        access.connect()


def test_revoking_a_key_and_its_news_stand_or_fall_together(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, secret = make_key(alice, "k")

    def fails(**_: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr(access, "changed", fails)
    with pytest.raises(RuntimeError):
        access.revoke(key)
    assert from_request_headers(f"Bearer {secret}", None) is not None
