"""The admin: invitations without a mail server, keys without secrets, sessions that end."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from accounts.authenticate import make_key
from accounts.models import ApiKey, SignIn
from tests.people import PASSWORD

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def plain_static_files(settings: Any) -> None:
    plain = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = {**settings.STORAGES, "staticfiles": plain}


@pytest.fixture
def root(admin: User) -> Client:
    client = Client()
    client.force_login(admin)
    return client


@pytest.fixture
def helper(alice: User) -> Client:
    """is_staff with every permission, yet no superuser."""
    alice.is_staff = True
    alice.save()
    alice.user_permissions.set(Permission.objects.all())
    client = Client()
    client.force_login(alice)
    return client


def test_a_link_is_shown_on_asking_and_sets_a_password_once(root: Client, bob: User) -> None:
    person_page = root.get(f"/admin/auth/user/{bob.pk}/change/").content.decode()
    page = f"/admin/auth/user/{bob.pk}/invitation/"
    assert page in person_page
    assert b"http" not in re.sub(rb"https?://[a-z.]*w3[^\"]*", b"", root.get(page).content)
    answer = root.post(page)
    assert "no-store" in answer.headers["Cache-Control"]
    (link,) = re.findall(r'value="(https?://[^"]+)"', answer.content.decode())
    path = link.partition("://")[2].partition("/")[2]
    newcomer = Client()
    form = newcomer.get(f"/{path}", follow=True)
    assert form.status_code == 200
    to = form.redirect_chain[-1][0]
    done = newcomer.post(
        to, {"new_password1": "brand-new-word-1", "new_password2": "brand-new-word-1"}
    )
    assert done.status_code == 302
    bob.refresh_from_db()
    assert bob.check_password("brand-new-word-1")
    again = Client().get(f"/{path}", follow=True)
    assert b"new_password1" not in again.content


def test_there_is_no_link_for_who_is_inactive_or_absent(root: Client, bob: User) -> None:
    bob.is_active = False
    bob.save()
    for user_id in (bob.pk, 987654):
        assert root.post(f"/admin/auth/user/{user_id}/invitation/").status_code == 404


def test_other_peoples_accounts_keys_and_sessions_are_for_superusers(
    helper: Client, bob: User
) -> None:
    for path in (
        "auth/user/", f"auth/user/{bob.pk}/change/", f"auth/user/{bob.pk}/invitation/",
        "auth/user/add/", "hub_accounts/apikey/", "hub_accounts/signin/",
    ):  # fmt: skip
        assert helper.get(f"/admin/{path}").status_code == 403, path


def test_keys_are_listed_without_secret_and_revoked(root: Client, alice: User) -> None:
    key, secret = make_key(alice, "nightly")
    for path in ("", f"{key.pk}/change/"):
        page = root.get(f"/admin/hub_accounts/apikey/{path}").content.decode()
        assert "nightly" in page and key.hash not in page and secret not in page
    chosen = {"action": "revoke", "_selected_action": [key.pk]}
    assert root.post("/admin/hub_accounts/apikey/", chosen).status_code == 302
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert root.get("/admin/hub_accounts/apikey/add/").status_code == 403


def test_sessions_are_listed_and_ended(root: Client, bob: User) -> None:
    client = Client()
    client.force_login(bob)
    row = SignIn.objects.get(user=bob)
    assert row.session_key not in root.get("/admin/hub_accounts/signin/").content.decode()
    chosen = {"action": "end", "_selected_action": [row.pk]}
    assert root.post("/admin/hub_accounts/signin/", chosen).status_code == 302
    assert not SignIn.objects.filter(user=bob).exists()
    assert "_auth_user_id" not in client.session


def test_an_account_made_here_has_a_profile_to_edit(root: Client) -> None:
    made = {
        "username": "dora",
        "usable_password": "true",
        "password1": PASSWORD,
        "password2": PASSWORD,
    }
    assert root.post("/admin/auth/user/add/", made).status_code == 302
    dora = User.objects.get(username="dora")
    page = root.get(f"/admin/auth/user/{dora.pk}/change/")
    assert b"hub_profile-0-display_name" in page.content
    assert not ApiKey.objects.exists()


def test_the_admins_own_sign_in_is_slowed_too(admin: User) -> None:
    client = Client()
    for _ in range(5):
        client.post("/admin/login/", {"username": "admin", "password": "wrong"})
    page = client.post("/admin/login/", {"username": "admin", "password": PASSWORD})
    assert b"Too many attempts" in page.content
