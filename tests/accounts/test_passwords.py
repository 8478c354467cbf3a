"""Who found an open browser may not guess the password there."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.people import PASSWORD

pytestmark = pytest.mark.django_db
PAGE = "/accounts/password/change/"
NEW = "brand-new-pass-77"


def change(client: Client, old: str) -> int:
    form = {"old_password": old, "new_password1": NEW, "new_password2": NEW}
    return client.post(PAGE, form).status_code


def test_wrong_old_passwords_are_slowed(client: Client, alice: User) -> None:
    client.force_login(alice)
    assert [change(client, f"wrong{n}") for n in range(6)] == [200] * 5 + [429]
    answer = client.post(
        PAGE, {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
    )
    assert answer.status_code == 429
    assert answer.headers["Retry-After"]
    assert "Too many attempts" in answer.content.decode()
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_the_right_one_changes_it_and_counts_for_nothing(client: Client, alice: User) -> None:
    client.force_login(alice)
    assert [change(client, "wrong") for _ in range(3)] == [200] * 3
    assert change(client, PASSWORD) == 302
    assert [change(client, "wrong") for _ in range(5)] == [200] * 5


def test_the_admins_own_page_is_no_way_around(client: Client, admin: User) -> None:
    client.force_login(admin)
    assert client.get("/admin/password_change/")["Location"] == PAGE
