from __future__ import annotations

import pytest
from django.test import Client

from accounts import setup
from notifications import announcements, notify
from tests.people import PASSWORD

pytestmark = pytest.mark.django_db

PAGES = [
    "/",
    "/wall/",
    "/inbox/",
    "/inbox/?state=unread",
    "/announcements/",
    "/jobs/",
    "/jobs/start/tests.shop.tasks.stocktake/",
    "/rooms/",
    "/rooms/new/",
    "/rooms/direct/",
    "/rooms/search/",
    "/rooms/search/?q=hello",
    "/settings/",
    "/accounts/password/change/",
    "/accounts/password/change/done/",
]
OPEN = [
    "/accounts/login/",
    "/accounts/password/reset/",
    "/accounts/password/reset/done/",
    "/accounts/password/reset/complete/",
    "/accounts/password/reset/MQ/no-such/",
]


@pytest.fixture
def as_alice(client: Client, alice):
    client.force_login(alice)
    return client


@pytest.mark.parametrize("page", PAGES)
def test_sends_strangers_to_sign_in_and_back(client, page):
    answer = client.get(page)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/accounts/login/?next=/")


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("page", PAGES)
def test_shows_every_page(as_alice, page, language):
    notify(to=[_id(as_alice)], kind="orders.late", title="Late <b>order</b>", url="/orders/1/")
    announcements.create(None, "Closed on <i>Friday</i>")
    answer = as_alice.get(page, headers={"Accept-Language": language})
    assert answer.status_code == 200
    text = answer.content.decode()
    assert f'<html lang="{language}"' in text
    assert "<b>order" not in text
    assert "<i>Friday" not in text


@pytest.mark.parametrize("page", [*PAGES[:13], "/connection/"])
def test_answers_head_as_it_answers_get(as_alice, page):
    answer = as_alice.head(page)
    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize("page", OPEN)
def test_shows_what_strangers_need(client, admin, page):
    assert client.get(page).status_code == 200


def test_nothing_is_inline(as_alice, client, admin):
    for page in [*PAGES, *OPEN]:
        text = as_alice.get(page).content.decode()
        assert " style=" not in text
        assert "<style" not in text
        assert "javascript:" not in text
        assert not _inline_scripts(text)


def test_signs_in_and_returns_to_the_page_that_was_asked_for(client, alice, admin):
    form = {"username": "alice", "password": PASSWORD, "next": "/inbox/?state=unread"}
    assert client.post("/accounts/login/", form)["Location"] == "/inbox/?state=unread"


def test_signing_in_leaves_a_line(client, alice, admin, caplog):
    caplog.set_level("INFO", "accounts")
    client.post("/accounts/login/", {"username": "alice", "password": PASSWORD})
    assert f"user {alice.pk} signed in from 127.0.0.1" in caplog.text


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "javascript:x"])
def test_never_returns_to_another_site(client, alice, admin, elsewhere):
    form = {"username": "alice", "password": PASSWORD, "next": elsewhere}
    assert client.post("/accounts/login/", form)["Location"] == "/"


def test_language_can_be_chosen_before_signing_in(client, admin):
    client.post("/accounts/language/", {"language": "ko", "next": "/accounts/login/?next=/inbox/"})
    assert '<html lang="ko"' in client.get("/accounts/login/").content.decode()


def test_signing_out_needs_a_post(as_alice):
    assert as_alice.get("/accounts/logout/").status_code == 405
    assert as_alice.post("/accounts/logout/").status_code == 302
    assert as_alice.get("/").status_code == 302


def _id(client: Client) -> int:
    return int(client.session["_auth_user_id"])


def _inline_scripts(text: str) -> list[str]:
    return [
        part
        for part in text.split("<script")[1:]
        if "src=" not in part.partition(">")[0] and "application/json" not in part.partition(">")[0]
    ]


def test_a_hub_without_an_administrator_leads_to_its_first_run_page_once(client):
    assert client.get("/")["Location"].startswith("/accounts/login/")
    assert client.get("/accounts/login/")["Location"] == "/accounts/setup/"
    form = {"username": "root", "password1": PASSWORD, "password2": PASSWORD}
    token = setup.issue_token()
    assert client.post("/accounts/setup/", form | {"token": "guessed"}).status_code == 200
    assert client.get("/").status_code == 302
    assert client.post("/accounts/setup/", form | {"token": token})["Location"] == "/"
    assert client.get("/").status_code == 200
    assert client.get("/accounts/setup/").status_code == 404
