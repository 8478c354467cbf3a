"""Wrong passwords are slowed; their owner gets in."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import aauthenticate, authenticate
from django.contrib.auth.models import User
from django.db import connections
from django.db.models import F
from django.http import HttpRequest
from django.test import RequestFactory
from django.utils import timezone

from accounts import attempts, places
from accounts.models import Place
from accounts.sign_in import SignInForm, SignInView
from tests.people import PASSWORD

pytestmark = pytest.mark.django_db


def try_(username: str, password: str, address: str = "192.0.2.1") -> Any:
    request = RequestFactory().post("/accounts/login/", REMOTE_ADDR=address)
    return authenticate(request, username=username, password=password), request


def pass_time(seconds: float) -> None:
    back = timedelta(seconds=seconds)
    Place.objects.filter(closed_until__isnull=False).update(closed_until=F("closed_until") - back)
    Place.objects.update(attempted_at=F("attempted_at") - back)


def wait_for(username: str, address: str = "192.0.2.1") -> int:
    return getattr(try_(username, "wrong", address)[1], "hub_wait", 0)


def test_the_first_wrong_passwords_are_free_and_then_the_wait_doubles(alice: User) -> None:
    assert [wait_for("alice") for _ in range(5)] == [0] * 5
    waits = []
    for _ in range(6):
        waits.append(wait_for("alice"))
        pass_time(waits[-1])
        assert wait_for("alice") == 0
    assert waits == [1, 2, 4, 8, 16, 32]


def test_no_wait_is_longer_than_five_minutes() -> None:
    assert [attempts.delay(n, 5) for n in (4, 5, 6, 13, 14, 10_000)] == [0, 1, 2, 256, 300, 300]


def test_a_closed_door_looks_at_no_password_and_counts_nothing(alice: User) -> None:
    for _ in range(5):
        try_("alice", "wrong")
    before = Place.objects.values_list("failures", flat=True).order_by("pk")
    user, request = try_("alice", PASSWORD)
    assert user is None and request.hub_wait == 1
    assert [round(count) for count in before] == [5, 5]


def test_the_owner_gets_in_after_ten_wrong_passwords_and_a_short_wait(alice: User) -> None:
    for _ in range(10):
        try_("alice", "wrong")
    pass_time(wait_for("alice"))
    assert try_("alice", PASSWORD)[0] == alice
    assert wait_for("alice") == 0


def test_the_owner_gets_in_at_once_from_another_address(alice: User) -> None:
    for _ in range(10):
        try_("alice", "wrong")
    assert try_("alice", PASSWORD, "198.51.100.7")[0] == alice


def test_one_address_is_slowed_over_all_accounts_but_not_who_is_known_there(
    alice: User, bob: User
) -> None:
    assert try_("alice", PASSWORD)[0] == alice
    for n in range(30):
        try_(f"guess{n}", "wrong")
    assert try_("bob", PASSWORD)[0] is None
    assert try_("alice", PASSWORD)[0] == alice
    assert try_("bob", PASSWORD, "198.51.100.7")[0] == bob


def test_signing_in_with_an_account_of_ones_own_buys_no_more_guesses(
    alice: User, bob: User
) -> None:
    for n in range(30):
        try_(f"guess{n}", "wrong")
        if n == 15:
            assert try_("bob", PASSWORD)[0] == bob
    assert wait_for("alice") > 0


def test_an_office_with_typing_errors_is_not_locked_out(alice: User, bob: User) -> None:
    for n in range(41):
        assert wait_for(f"colleague{n}") == 0
        pass_time(40 * 60)
    assert try_("alice", PASSWORD)[0] == alice
    assert try_("bob", PASSWORD)[0] == bob


def test_a_right_password_closes_the_door_to_nobody(alice: User, bob: User, charlie: User) -> None:
    for n in range(36):
        pass_time(wait_for(f"guess{n}"))
    pass_time(400)
    for person in (alice, bob, charlie):
        assert try_(person.username, PASSWORD)[0] == person
    assert wait_for("guess") == 0
    assert wait_for("guess") > 0


def test_a_row_pruned_under_an_attempt_is_made_again(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, calls = Place.objects.bulk_create, []

    def pruned_at_once(rows: Any, **options: Any) -> Any:
        made = make(rows, **options)
        calls.append(1)
        if len(calls) == 1:
            Place.objects.all().delete()
        return made

    monkeypatch.setattr(Place.objects, "bulk_create", pruned_at_once)
    assert try_("alice", PASSWORD)[0] == alice
    assert len(calls) == 2


def test_who_does_not_exist_is_slowed_alike() -> None:
    assert [wait_for("ghost") for _ in range(6)] == [0, 0, 0, 0, 0, 1]


def test_spelling_the_name_differently_is_the_same_account(alice: User) -> None:
    for name in ("alice", "ALICE", "Alice", "aLice", "\uff41lice"):
        try_(name, "wrong")
    assert wait_for("alice") == 1


def test_ipv6_counts_by_64(alice: User) -> None:
    for n in range(5):
        try_("alice", "wrong", f"2001:db8:1:2::{n + 1}")
    assert wait_for("alice", "2001:db8:1:2:ffff::9") == 1
    assert wait_for("alice", "2001:db8:1:3::1") == 0
    assert places.neighbourhood("") == ""


@pytest.mark.parametrize(
    ("peer", "is_"),
    [("192.0.2.1", "192.0.2.1"), ("::ffff:192.0.2.1", "192.0.2.1"), ("fe80::1%eth0", "fe80::1"),
     ("", ""), ("nonsense", ""), ("2001:DB8::1", "2001:db8::1")],
)  # fmt: skip
def test_an_address_is_read_or_unknown(peer: str, is_: str) -> None:
    assert places.address(RequestFactory().get("/", REMOTE_ADDR=peer)) == is_


def test_a_forged_proxy_header_changes_nothing() -> None:
    request = RequestFactory().get(
        "/", REMOTE_ADDR="192.0.2.1", headers={"x-real-ip": "1.1.1.1", "x-forwarded-for": "1.1.1.1"}
    )
    assert places.address(request) == "192.0.2.1"


def test_what_was_typed_as_name_is_not_kept(alice: User) -> None:
    try_("my-secret-password", "x")
    assert not Place.objects.filter(account__contains="secret").exists()


def test_counts_are_forgotten_and_pruned(alice: User) -> None:
    for _ in range(8):
        try_("alice", "wrong")
        pass_time(60)
    pass_time(86_500)
    assert wait_for("alice") == 0
    assert round(Place.objects.exclude(account="").get().failures) == 1
    pass_time(86_500)
    attempts.prune()
    assert not Place.objects.exists()
    try_("alice", PASSWORD)
    pass_time(86_500)
    attempts.prune()
    kept = Place.objects.get().succeeded_at
    assert kept is not None and kept > timezone.now() - timedelta(minutes=1)


@pytest.mark.django_db(transaction=True)
def test_guesses_side_by_side_are_counted_before_they_are_checked(alice: User) -> None:
    gate, looked_at = threading.Barrier(12), []

    def guess() -> None:
        try:
            gate.wait(10)
            looked_at.append(not hasattr(try_("alice", "wrong")[1], "hub_wait"))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (looked_at.count(True), len(looked_at)) == (5, 12)


def test_refusals_are_logged_without_what_was_typed(
    alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "accounts")
    for _ in range(6):
        try_("alice", "typed-secret")
    assert "sign-in from 192.0.2.1 failed" in caplog.text
    assert "refused for 1 s" in caplog.text
    assert "typed-secret" not in caplog.text


def nobody(user: User) -> bool:
    return False


def test_who_is_not_staff_of_the_hub_does_not_sign_in(alice: User, settings: Any) -> None:
    settings.HUB_IS_STAFF = f"{__name__}.nobody"
    assert try_("alice", PASSWORD)[0] is None


@pytest.mark.django_db(transaction=True)
async def test_async_sign_in_is_slowed_too(alice: User) -> None:
    def request() -> HttpRequest:
        return RequestFactory().post("/", REMOTE_ADDR="192.0.2.1")

    for _ in range(5):
        assert await aauthenticate(request(), username="alice", password="wrong") is None
    slowed = request()
    assert await aauthenticate(slowed, username="alice", password=PASSWORD) is None
    assert slowed.hub_wait == 1  # type: ignore[attr-defined]


def test_the_form_says_how_long(alice: User) -> None:
    for _ in range(5):
        try_("alice", "wrong")
    request = RequestFactory().post("/accounts/login/", REMOTE_ADDR="192.0.2.1")
    form = SignInForm(request, data={"username": "alice", "password": PASSWORD})
    assert not form.is_valid()
    error = form.non_field_errors().as_data()[0]
    assert error.code == "slowed" and "1 second" in str(error.message)
    wrong = SignInForm(RequestFactory().post("/"), data={"username": "alice", "password": "x"})
    assert wrong.errors.as_data()["__all__"][0].code == "invalid_login"


def test_the_view_answers_429_with_retry_after(alice: User) -> None:
    from django.contrib.sessions.backends.db import SessionStore

    for _ in range(5):
        try_("alice", "wrong")
    request = RequestFactory().post(
        "/accounts/login/", {"username": "alice", "password": PASSWORD}, REMOTE_ADDR="192.0.2.1"
    )
    request.session = SessionStore()
    request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]
    response = SignInView.as_view()(request)
    assert response.status_code == 429
    assert response.headers["Retry-After"] == "1"
