from __future__ import annotations

import zoneinfo
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts import authenticate
from accounts.models import ApiKey, SignIn
from tests.people import PASSWORD

pytestmark = pytest.mark.django_db

CHOICES = {"display_name": "", "language": "", "time_zone": "", "theme": "auto", "shortcuts": "on"}


@pytest.fixture
def as_alice(client: Client, alice, admin):
    client.post("/accounts/login/", {"username": "alice", "password": PASSWORD})
    return client


def save(client: Client, **changes: str) -> Any:
    return client.post("/settings/", CHOICES | changes)


def test_a_chosen_language_beats_the_browser_and_stays_for_sign_in(as_alice):
    save(as_alice, language="ko")
    page = as_alice.get("/", headers={"Accept-Language": "en"}).content.decode()
    assert '<html lang="ko"' in page
    as_alice.post("/accounts/logout/")
    assert '<html lang="ko"' in as_alice.get("/accounts/login/").content.decode()


def test_name_theme_time_zone_and_shortcuts_reach_every_page(as_alice):
    save(
        as_alice,
        display_name="  Alice \u202e  Ahn ",
        theme="dark",
        time_zone="asia/seoul",
        shortcuts="",
    )
    page = as_alice.get("/inbox/").content.decode()
    assert 'data-theme="dark"' in page
    assert 'data-name="Alice Ahn"' in page
    assert 'data-time-zone="Asia/Seoul"' in page
    assert 'data-shortcuts="off"' in page


def test_time_zones_are_not_looked_for_with_every_page(as_alice, monkeypatch):
    save(as_alice, time_zone="Asia/Seoul")
    as_alice.get("/inbox/")
    monkeypatch.setattr(zoneinfo, "available_timezones", lambda: pytest.fail("looked again"))
    page = as_alice.get("/inbox/").content.decode()
    assert 'data-time-zone="Asia/Seoul"' in page


@pytest.mark.parametrize(
    "wrong", [{"time_zone": "Mars/Olympus"}, {"language": "tlh"}, {"theme": "neon"}]
)
def test_refuses_what_it_does_not_know_in_place(as_alice, alice, wrong):
    answer = save(as_alice, display_name="Kept out", **wrong)
    assert answer.status_code == 200
    assert 'aria-invalid="true"' in answer.content.decode()
    alice.hub_profile.refresh_from_db()
    assert alice.hub_profile.display_name == ""


@pytest.mark.parametrize("unseen", ["\u200b", "\u3164", " \u2800 "])
def test_a_name_that_nobody_sees_is_none(as_alice, alice, unseen):
    save(as_alice, display_name=unseen)
    alice.hub_profile.refresh_from_db()
    assert alice.hub_profile.display_name == ""


def test_a_name_is_text_wherever_it_stands(as_alice):
    save(as_alice, display_name="<b>Alice</b>")
    assert "<b>Alice" not in as_alice.get("/").content.decode()


def test_ends_a_session_of_mine_and_no_other(as_alice, alice, bob):
    other = Client()
    other.post("/accounts/login/", {"username": "alice", "password": PASSWORD})
    bobs = Client()
    bobs.post("/accounts/login/", {"username": "bob", "password": PASSWORD})
    mine = SignIn.objects.get(session_key=other.session.session_key)
    foreign = SignIn.objects.get(user=bob)
    assert as_alice.post(f"/settings/sessions/{mine.pk}/end/").status_code == 302
    assert as_alice.post(f"/settings/sessions/{foreign.pk}/end/").status_code == 404
    assert other.get("/").status_code == 302
    assert bobs.get("/").status_code == 200
    assert as_alice.get("/").status_code == 200


def test_lists_only_sessions_that_are_alive(as_alice, alice):
    other = Client()
    other.post("/accounts/login/", {"username": "alice", "password": PASSWORD})
    assert len(as_alice.get("/settings/").context["sessions"]) == 2
    form = {
        "old_password": PASSWORD,
        "new_password1": "brand-new-77",
        "new_password2": "brand-new-77",
    }
    assert as_alice.post("/accounts/password/change/", form).status_code == 302
    assert [one["is_this"] for one in as_alice.get("/settings/").context["sessions"]] == [True]


def test_shows_a_key_once_and_keeps_no_copy(as_alice, alice):
    made = as_alice.post("/settings/keys/", {"name": "Backup", "scopes": ["read"]})
    assert made.status_code == 302
    as_alice.head("/settings/")
    answer = as_alice.get(made["Location"])
    secret = answer.context["secret"]
    assert secret in answer.content.decode()
    assert answer["Cache-Control"] == "no-store"
    assert secret not in str(dict(as_alice.session))
    assert secret not in as_alice.get("/settings/").content.decode()
    found = authenticate.from_request_headers(f"Bearer {secret}", None)
    assert found is not None
    assert found.scopes == {"read"}


def test_the_address_of_the_form_leads_to_the_settings(as_alice):
    assert as_alice.get("/settings/keys/")["Location"] == "/settings/#keys"
    assert not ApiKey.objects.exists()


def test_a_key_can_expire(as_alice, alice):
    form = {"name": "Trial", "scopes": ["read"], "expires": "30"}
    answer = as_alice.post("/settings/keys/", form, follow=True)
    assert "works until" in answer.content.decode()
    key = ApiKey.objects.get()
    assert key.expires_at is not None
    assert timedelta(days=29) < key.expires_at - timezone.now() <= timedelta(days=30)
    ApiKey.objects.update(expires_at=timezone.now())
    with pytest.raises(authenticate.InvalidKey):
        authenticate.from_request_headers(f"Bearer {answer.context['secret']}", None)
    assert "Trial" not in as_alice.get("/settings/").content.decode()
    assert not as_alice.post("/settings/keys/", form | {"expires": "7"}).context["secret"]
    as_alice.post("/settings/keys/", {"name": "Ever", "scopes": ["read"]})
    assert ApiKey.objects.get(name="Ever").expires_at is None


def test_nobody_makes_a_key_with_more_than_they_may(as_alice):
    answer = as_alice.post("/settings/keys/", {"name": "Root", "scopes": ["read", "admin"]})
    assert not answer.context["secret"]
    assert not ApiKey.objects.exists()


def test_revokes_my_key_and_no_other(as_alice, alice, bob):
    mine, secret = authenticate.make_key(alice, "mine")
    foreign, _ = authenticate.make_key(bob, "his")
    assert as_alice.post(f"/settings/keys/{mine.pk}/revoke/").status_code == 302
    assert as_alice.post(f"/settings/keys/{foreign.pk}/revoke/").status_code == 404
    with pytest.raises(authenticate.InvalidKey):
        authenticate.from_request_headers(f"Bearer {secret}", None)
