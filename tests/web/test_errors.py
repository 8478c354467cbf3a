from __future__ import annotations

import pytest
from django.db import OperationalError
from django.test import Client, RequestFactory
from django.utils import translation

from web import dashboard, errors, views


@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("status", [400, 403, 404, 413, 429, 500, 503])
def test_says_what_is_safe_and_the_way_back_without_the_database(status, language):
    """No `db` fixture: a query would raise."""
    with translation.override(language):
        answer = errors.page(RequestFactory().get("/inbox/"), status)
    text = answer.content.decode()
    assert answer.status_code == status
    assert f'<html lang="{language}"' in text
    assert f">{status}<" in text
    assert 'href="/"' in text
    assert ("Retry-After" in answer) == (status in {429, 503})


def test_every_status_has_its_own_words():
    titles = [title for title, _safe, _action in errors._words().values()]
    assert len(set(titles)) == len(titles)


@pytest.mark.django_db
def test_a_lost_database_is_503_with_a_second_try(client, alice, monkeypatch):
    def away(*args):
        raise OperationalError("the server closed the connection")

    client.force_login(alice)
    monkeypatch.setattr(views, "snapshot", away)
    answer = client.get("/")
    assert answer.status_code == 503
    assert answer["Retry-After"]


@pytest.mark.django_db
def test_a_fault_of_ours_is_500_without_a_trace(client, alice, monkeypatch):
    def broken(*args):
        raise ValueError("secret detail")

    client.raise_request_exception = False
    client.force_login(alice)
    monkeypatch.setattr(views, "snapshot", broken)
    answer = client.get("/")
    assert answer.status_code == 500
    assert "secret detail" not in answer.content.decode()
    assert dashboard.snapshot is not broken


@pytest.mark.django_db
def test_a_form_without_its_token_is_400_and_changes_nothing(alice):
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    answer = client.post("/settings/", {"display_name": "Mallory", "theme": "dark"})
    assert answer.status_code == 400
    alice.hub_profile.refresh_from_db()
    assert alice.hub_profile.display_name == ""


@pytest.mark.django_db
def test_what_is_too_large_is_413(client, alice):
    client.force_login(alice)
    answer = client.post("/announcements/", {"title": "x" * 3_000_000})
    assert answer.status_code == 413


@pytest.mark.django_db
@pytest.mark.parametrize("address", ["/nothing/", "/inbox/999999/", "/announcements/9/edit/"])
def test_what_is_not_there_is_404(client, alice, address):
    client.force_login(alice)
    assert client.get(address).status_code == 404
