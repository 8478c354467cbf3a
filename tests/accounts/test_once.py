"""Things that happen at most once: keyed requests, the first administrator, links that set a password."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.db import connections
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from django.utils import timezone

from accounts import demo, idempotency, invitations, setup, tasks
from accounts.models import Answer, SetupToken
from tests.accounts.credentials import by_key
from tests.people import PASSWORD

pytestmark = pytest.mark.django_db

urlpatterns = [
    path("reset/<uidb64>/<token>/", lambda request: HttpResponse(), name="password_reset_confirm")
]


def side_by_side(count: int, work: Any) -> list[Any]:
    """What each of `count` threads got, started at one moment; exceptions are results too."""
    gate, results = threading.Barrier(count), []

    def run() -> None:
        try:
            gate.wait(10)
            results.append(work())
        except Exception as error:  # noqa: BLE001
            results.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return results


# --- keys of requests -----------------------------------------------------------------------------------------------


def test_the_same_key_gets_the_first_answer(alice: User, bob: User) -> None:
    made: list[int] = []

    def make() -> tuple[int, Any]:
        made.append(1)
        return 201, {"n": len(made)}

    once = idempotency.once
    assert once(alice.pk, "r", "k", make) == (201, {"n": 1})
    assert once(alice.pk, "r", "k", make) == (201, {"n": 1})
    assert once(alice.pk, "r", "k", make, again=200) == (200, {"n": 1})
    assert once(bob.pk, "r", "k", make) == (201, {"n": 2})
    assert once(alice.pk, "other", "k", make) == (201, {"n": 3})
    assert once(alice.pk, "r", "k2", make) == (201, {"n": 4})
    assert once(alice.pk, "r", None, make) == (201, {"n": 5})


def test_what_failed_may_be_tried_again(alice: User) -> None:
    def fail() -> tuple[int, Any]:
        Group.objects.create(name="half done")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        idempotency.once(alice.pk, "r", "k", fail)
    assert not Group.objects.exists() and not Answer.objects.exists()
    assert idempotency.once(alice.pk, "r", "k", lambda: (201, {})) == (201, {})


@pytest.mark.django_db(transaction=True)
def test_of_many_side_by_side_one_does_the_work(alice: User) -> None:
    def make() -> tuple[int, Any]:
        team = Group.objects.create(name=f"t{threading.get_ident()}")
        return 201, {"id": team.pk}

    results = side_by_side(8, lambda: idempotency.once(alice.pk, "r", "k", make))
    assert len(results) == 8 and len({str(one) for one in results}) == 1, results
    assert Group.objects.count() == 1


def test_old_answers_are_pruned(alice: User) -> None:
    idempotency.once(alice.pk, "r", "new", lambda: (201, {}))
    idempotency.once(alice.pk, "r", "old", lambda: (201, {}))
    Answer.objects.filter(key="old").update(created_at=timezone.now() - timedelta(days=8))
    assert idempotency.prune() == 1
    assert Answer.objects.get().key == "new"


# --- the first administrator ----------------------------------------------------------------------------------------


def test_the_token_makes_one_administrator() -> None:
    assert setup.needed()
    token = setup.issue_token()
    assert setup.prune() == 0
    assert token not in SetupToken.objects.get().hash
    user = setup.consume(token, "root", PASSWORD)
    assert user.is_superuser and user.is_staff and user.check_password(PASSWORD)
    assert not setup.needed()
    with pytest.raises(setup.SetupRefused):
        setup.consume(token, "second", PASSWORD)
    with pytest.raises(setup.SetupRefused):
        setup.consume(setup.issue_token(), "second", PASSWORD)
    assert User.objects.count() == 1


def test_only_the_last_token_works() -> None:
    first, second = setup.issue_token(), setup.issue_token()
    for wrong in ("", "x", first):
        with pytest.raises(setup.SetupRefused):
            setup.consume(wrong, "root", PASSWORD)
    assert setup.consume(second, "root", PASSWORD).is_superuser


@pytest.mark.django_db(transaction=True)
def test_of_many_that_race_one_becomes_administrator() -> None:
    token = setup.issue_token()
    names = iter(f"root{n}" for n in range(6))
    results = side_by_side(6, lambda: setup.consume(token, next(names), PASSWORD))
    assert sum(isinstance(one, User) for one in results) == 1, results
    assert sum(isinstance(one, setup.SetupRefused) for one in results) == 5, results
    assert User.objects.filter(is_superuser=True).count() == 1


def test_the_form_explains_a_used_token_and_a_weak_password() -> None:
    data = {"token": "wrong", "username": "root", "password1": "1234", "password2": "1234"}
    assert "password2" in setup.SetupForm(data).errors
    data |= {"password1": PASSWORD, "password2": PASSWORD}
    form = setup.SetupForm(data)
    assert form.is_valid() and form.save() is None
    assert "token" in form.errors
    form = setup.SetupForm({**data, "token": f" {setup.issue_token()} "})
    assert form.is_valid() and form.save().is_superuser


def test_a_setup_token_is_good_for_a_day() -> None:
    token = setup.issue_token()
    SetupToken.objects.update(created_at=timezone.now() - timedelta(hours=25))
    with pytest.raises(setup.SetupRefused):
        setup.consume(token, "root", PASSWORD)
    assert setup.prune() == 1


def test_a_setup_token_that_nobody_needs_is_forgotten(admin: User) -> None:
    setup.issue_token()
    assert tasks.prune() == 1
    assert not SetupToken.objects.exists()


def test_an_administrator_made_by_other_means_ends_the_token() -> None:
    token = setup.issue_token()
    root = User.objects.create_superuser("root", "root@example.org", PASSWORD)
    root.is_active = False
    root.save()
    with pytest.raises(setup.SetupRefused):
        setup.consume(token, "late", PASSWORD)


# --- links that set a password --------------------------------------------------------------------------------------


@pytest.mark.urls(__name__)
def test_a_link_works_once(alice: User, settings: Any) -> None:
    from django.contrib.auth.tokens import default_token_generator

    settings.HUB_URL = "https://hub.example.org"
    link = invitations.link(alice)
    found = re.fullmatch(r"https://hub\.example\.org/reset/([^/]+)/([^/]+)/", link)
    assert found and default_token_generator.check_token(alice, found[2])
    alice.set_password("another-password-1")
    alice.save()
    assert not default_token_generator.check_token(alice, found[2])


# --- the demo -------------------------------------------------------------------------------------------------------


def test_the_demo_makes_people_once() -> None:
    made = demo.ensure("pass-word-1")
    assert made == [(name, "pass-word-1") for name in ("alice", "bob", "charlie", "admin")]
    assert Client().login(username="alice", password="pass-word-1")
    assert User.objects.get(username="admin").is_superuser
    assert not User.objects.get(username="alice").is_superuser
    assert set(Group.objects.get(name="Warehouse").user_set.values_list("username", flat=True)) == {
        "alice",
        "bob",
    }
    User.objects.get(username="bob").delete()
    assert demo.ensure(None)[0] == ("alice", None)
    assert Client().login(username="alice", password="pass-word-1")


def test_the_demo_finds_a_password_when_none_is_given() -> None:
    passwords = {password for _, password in demo.ensure(None)}
    (password,) = passwords
    assert password and len(password) >= 12


# --- manage.py apikey -----------------------------------------------------------------------------------------------


def test_the_key_stands_alone_on_the_last_line(alice: User, admin: User) -> None:
    out = StringIO()
    call_command("apikey", "alice", stdout=out, stderr=StringIO())
    secret = out.getvalue().splitlines()[-1]
    assert by_key(secret).username == "alice"
    out = StringIO()
    call_command("apikey", "admin", "--scope", "read", "--scope", "admin", "--name", "ci", stdout=out, stderr=StringIO())  # fmt: skip
    secret = out.getvalue().splitlines()[-1]
    assert by_key(secret).scopes == {"read", "admin"}
    assert admin.hub_keys.get().name == "ci"


def test_a_key_may_be_made_for_some_days(alice: User) -> None:
    call_command("apikey", "alice", "--days", "7", stdout=StringIO(), stderr=StringIO())
    expires = alice.hub_keys.get().expires_at
    assert expires is not None
    assert timedelta(days=6) < expires - timezone.now() <= timedelta(days=7)


@pytest.mark.parametrize(("username", "extra"), [
    ("ghost", []), ("alice", ["--scope", "admin"]),
    ("alice", ["--days", "0"]), ("alice", ["--days", "-3"]), ("alice", ["--days", "x"]),
    ("alice", ["--days", "99999999999"]),
])  # fmt: skip
def test_a_key_that_cannot_be_is_one_clear_line(
    alice: User, username: str, extra: list[str]
) -> None:
    with pytest.raises(CommandError) as raised:
        call_command("apikey", username, *extra)
    assert "\n" not in str(raised.value)
