from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth import HASH_SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import access
from accounts.authenticate import (
    SCOPES,
    Credential,
    InvalidKey,
    from_request_headers,
    make_key,
    origin_is_ours,
    still_valid,
)
from accounts.models import ApiKey
from tests.accounts.credentials import browser, by_key, by_session
from tests.people import person

pytestmark = pytest.mark.django_db


def nobody(user: User) -> bool:
    return False


def signed_in(user: User) -> str:
    return browser(user)[1]


def test_a_key_speaks_for_its_person_with_its_scopes(alice: User) -> None:
    key, secret = make_key(alice, "script", ["read", "publish"])
    credential = by_key(secret)
    assert (credential.user_id, credential.key_id) == (alice.pk, key.pk)
    assert credential.session_key is None
    assert credential.scopes == {"read", "publish"}


def test_the_secret_is_long_marked_and_not_stored(alice: User) -> None:
    key, secret = make_key(alice, "script")
    assert secret.startswith("hub_") and len(secret) >= 47
    row = " ".join(str(value) for value in ApiKey.objects.values().get(pk=key.pk).values())
    assert secret not in row and secret[len(key.prefix) :] not in row
    assert key.scopes == ["read", "publish", "jobs", "chat"]


def test_the_admin_scope_is_for_superusers_at_making_and_at_use(alice: User, admin: User) -> None:
    with pytest.raises(ValueError, match="admin"):
        make_key(alice, "script", ["admin"])
    with pytest.raises(ValueError, match="unknown scope"):
        make_key(alice, "script", ["everything"])
    _, secret = make_key(admin, "script")
    assert "admin" in by_key(secret).scopes
    admin.is_superuser = False
    admin.save()
    assert "admin" not in by_key(secret).scopes


@pytest.mark.parametrize(
    "header",
    ["", " ", "Bearer", "Bearer ", "Bearer x", "Basic YTpi", "Bearer hub_" + "a" * 43,
     "Bearer " + "x" * 10_000, "Bearer é", "hub_x", "Bearer \x00"],
)  # fmt: skip
def test_a_bad_authorization_header_never_falls_back_to_the_cookie(
    alice: User, header: str
) -> None:
    session_key = signed_in(alice)
    assert from_request_headers(None, session_key) is not None
    with pytest.raises(InvalidKey):
        from_request_headers(header, session_key)


def test_revoked_expired_and_inactive_keys_are_bad(alice: User, bob: User, charlie: User) -> None:
    revoked, secret_of_revoked = make_key(alice, "one")
    access.revoke(revoked)
    expired, secret_of_expired = make_key(bob, "two")
    expired.expires_at = timezone.now() - timedelta(seconds=1)
    expired.save()
    _, secret_of_inactive = make_key(charlie, "three")
    charlie.is_active = False
    charlie.save()
    for secret in (secret_of_revoked, secret_of_expired, secret_of_inactive):
        with pytest.raises(InvalidKey):
            from_request_headers(f"Bearer {secret}", None)


def test_use_is_noted_at_most_once_a_minute(alice: User) -> None:
    key, secret = make_key(alice, "script")
    by_key(secret)
    key.refresh_from_db()
    first = key.last_used_at
    assert first is not None
    from_request_headers(f"bearer {secret}", None)
    key.refresh_from_db()
    assert key.last_used_at == first
    ApiKey.objects.update(last_used_at=first - timedelta(seconds=61))
    by_key(secret)
    key.refresh_from_db()
    assert key.last_used_at >= first


def test_a_session_speaks_for_its_person_with_all_possible_scopes(alice: User, admin: User) -> None:
    session_key = signed_in(alice)
    credential = by_session(session_key)
    assert (credential.user_id, credential.session_key) == (alice.pk, session_key)
    assert credential.scopes == set(SCOPES) - {"admin"}
    assert session_key not in repr(credential)
    assert by_session(signed_in(admin)).scopes == set(SCOPES)


def test_without_a_credential_nobody_is_signed_in() -> None:
    assert from_request_headers(None, None) is None
    assert from_request_headers(None, "") is None
    assert from_request_headers(None, "nosuchsession") is None


def test_expired_tampered_and_foreign_backend_sessions_are_nobodys(alice: User) -> None:
    expired, tampered, foreign = (signed_in(alice) for _ in range(3))
    Session.objects.filter(session_key=expired).update(expire_date=timezone.now())
    Session.objects.filter(session_key=tampered).update(session_data="garbage")
    from importlib import import_module

    from django.conf import settings

    store = import_module(settings.SESSION_ENGINE).SessionStore(foreign)
    store["_auth_user_backend"] = "somewhere.Else"
    store.save()
    for key in (expired, tampered, foreign):
        assert from_request_headers(None, key) is None


def test_a_password_change_ends_every_session_that_does_not_know_it(alice: User) -> None:
    session_key = signed_in(alice)
    credential = by_session(session_key)
    alice.set_password("another-password")
    alice.save()
    assert from_request_headers(None, session_key) is None
    assert still_valid([credential]) == set()
    assert Session.objects.filter(session_key=session_key).exists()  # looked at, never flushed


def test_a_rotated_secret_key_signs_nobody_out(alice: User, settings: object) -> None:
    session_key = signed_in(alice)
    before = Session.objects.values().get(session_key=session_key)
    old = settings.SECRET_KEY  # type: ignore[attr-defined]
    settings.SECRET_KEY = "a-new-secret-key-of-reasonable-length-0123456789"  # type: ignore[attr-defined]
    settings.SECRET_KEY_FALLBACKS = [old]  # type: ignore[attr-defined]
    credential = by_session(session_key)
    assert credential.user_id == alice.pk
    assert still_valid([credential]) == {credential}
    assert Session.objects.values().get(session_key=session_key) == before
    settings.SECRET_KEY_FALLBACKS = []  # type: ignore[attr-defined]
    assert from_request_headers(None, session_key) is None
    assert still_valid([credential]) == set()


def test_a_session_without_a_hash_is_nobodys(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    session = client.session
    del session[HASH_SESSION_KEY]
    session.save()
    assert from_request_headers(None, session.session_key) is None


def test_the_staff_predicate_closes_both_doors(alice: User, settings: object) -> None:
    session_key, (_, secret) = signed_in(alice), make_key(alice, "script")
    credentials = [
        by_session(session_key),
        by_key(secret),
    ]
    settings.HUB_IS_STAFF = f"{__name__}.nobody"  # type: ignore[attr-defined]
    assert from_request_headers(None, session_key) is None
    with pytest.raises(InvalidKey):
        from_request_headers(f"Bearer {secret}", None)
    assert still_valid(credentials) == set()


def test_still_valid_asks_for_all_at_once() -> None:
    def credentials(count: int):
        for n in range(count):
            user = person(f"p{n}")
            yield by_session(signed_in(user))
            yield by_key(make_key(user, "k")[1])

    def queries(some: list[Credential]) -> int:
        with CaptureQueriesContext(connection) as captured:
            assert still_valid(some) == set(some)
        return len(captured)

    few, many = list(credentials(1)), list(credentials(15))
    assert queries(few) == queries(many) == 3


def test_still_valid_keeps_only_what_counts(alice: User, bob: User) -> None:
    kept, ended = (by_session(signed_in(alice)) for _ in range(2))
    key, secret = make_key(bob, "k")
    revoked = by_key(secret)
    access.revoke(key)
    Session.objects.filter(session_key=ended.session_key).delete()
    assert still_valid([kept, ended, revoked]) == {kept}


def test_a_narrowed_key_is_no_longer_what_it_was_and_a_lost_flag_only_loses_admin(
    alice: User, admin: User
) -> None:
    key, secret = make_key(alice, "k")
    narrowed = by_key(secret)
    key.scopes = ["publish"]
    key.save()
    assert still_valid([narrowed]) == set()
    credential = by_key(make_key(admin, "k")[1])
    admin.is_superuser = False
    admin.save()
    assert still_valid([credential]) == {credential}


OURS = ["http://localhost:8000", "https://hub.example.org", "https://eu.wild.example"]
FOREIGN = [
    None, "", "null", "*", "http://", "http://[", "http://localhost", "http://localhost:80",
    "https://localhost:8000", "http://localhost:8000/", "http://localhost:8000.evil.example",
    "http://evil.example", "http://evil.example:8000", "https://hub.example.org.evil.example",
    "https://hub.example.org:444", "http://hub.example.org", "https://xhub.example.org",
    "https://user@hub.example.org", "HTTP://LOCALHOST:8000", "localhost:8000", "//localhost:8000",
    "http://localhost:8000 ", " http://localhost:8000", "http://localhost:8000,http://evil.example",
    "http://localhost:8000\r\nX: y", "file://", "chrome-extension://abc", "ws://localhost:8000",
    "https://evil.example/.wild.example", "https://evil.example#.wild.example",
    "https://evilwild.example", "http://eu.wild.example", "https://a@b.wild.example",
    "javascript:alert(1)", "http://127.0.0.1:8000", "http://localhost:8000@evil.example",
]  # fmt: skip


@pytest.fixture
def our_origins(settings: object) -> None:
    settings.ALLOWED_HOSTS = ["localhost"]  # type: ignore[attr-defined]
    settings.CSRF_TRUSTED_ORIGINS = ["https://hub.example.org", "https://*.wild.example"]  # type: ignore[attr-defined]


@pytest.mark.usefixtures("our_origins")
@pytest.mark.parametrize("origin", OURS)
def test_our_origins_are_ours(origin: str) -> None:
    assert origin_is_ours(origin, "localhost:8000")


@pytest.mark.usefixtures("our_origins")
@pytest.mark.parametrize("secure", [True, False])
def test_the_scheme_of_our_address_decides(settings: object, secure: bool) -> None:
    settings.HUB_SECURE = secure  # type: ignore[attr-defined]
    assert origin_is_ours("https://localhost:8000", "localhost:8000") is secure
    assert origin_is_ours("http://localhost:8000", "localhost:8000") is not secure


@pytest.mark.usefixtures("our_origins")
@pytest.mark.parametrize("origin", FOREIGN)
def test_every_other_origin_is_not(origin: str | None) -> None:
    assert not origin_is_ours(origin, "localhost:8000")


@pytest.mark.usefixtures("our_origins")
@pytest.mark.parametrize("host", ["evil.example:8000", "", "[", "localhost:8000@evil", "a b"])
def test_a_forged_host_makes_no_origin_ours(host: str) -> None:
    assert not origin_is_ours(f"http://{host}", host)
