"""Asking for a password by mail waits for nobody and tells nothing; the link arrives."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from celery import current_app
from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client
from django.utils import timezone

from accounts import resets, tasks
from accounts.models import ResetRequest
from events import redis_client
from hub import env
from tests.accounts.mail_server import MailServer, mail_server

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/accounts/password/reset/"
NEW = "brand-new-pass-77"


@pytest.fixture
def server(settings: Any) -> Iterator[MailServer]:
    with mail_server() as running:
        for name, value in env.mail(f"smtp://127.0.0.1:{running.port}?starttls=0").items():
            setattr(settings, name, value)
        yield running


def ask(client: Client, email: str, **more: Any) -> Any:
    return client.post(PAGE, {"email": email}, **more)


def let_pass(seconds: float) -> None:
    ResetRequest.objects.update(due_at=F("due_at") - timedelta(seconds=seconds))


def test_the_link_arrives_and_works_once(client: Client, alice: User, server: MailServer) -> None:
    assert ask(client, "Alice@example.org")["Location"] == "/accounts/password/reset/done/"
    assert server.letters == []
    assert tasks.send_resets() == 1
    letter = server.letters[0]
    assert letter["To"] == "alice@example.org"
    link = re.search(r"http://localhost:\d+(/\S+)", letter.get_content())
    assert link is not None
    form = client.get(link[1])["Location"]
    assert client.post(form, {"new_password1": NEW, "new_password2": NEW}).status_code == 302
    assert client.login(username="alice", password=NEW)
    assert not client.get(link[1]).context["validlink"]
    assert tasks.send_resets() == 0
    assert not ResetRequest.objects.exists()


def test_it_speaks_the_language_of_the_page(
    client: Client, alice: User, server: MailServer
) -> None:
    ask(client, "alice@example.org", headers={"Accept-Language": "ko"})
    tasks.send_resets()
    assert re.search("[가-힣]", server.letters[0].get_content())


def test_who_is_known_cannot_be_told_from_the_answer(
    client: Client, alice: User, server: MailServer, django_assert_num_queries: Any
) -> None:
    answers = []
    for email in ("alice@example.org", "nobody@example.org"):
        with django_assert_num_queries(_QUERIES):
            answer = ask(client, email)
        answers.append((answer.status_code, answer.headers["Location"], answer.content))
    assert answers[0] == answers[1]
    assert tasks.send_resets() == 2
    assert len(server.letters) == 1


_QUERIES = 3  # begin, one row, commit
"""The same work whether somebody has the address or not."""


def test_the_page_does_not_wait_for_a_mail_server_that_hangs(
    client: Client, alice: User, server: MailServer, settings: Any
) -> None:
    server.hangs = True
    settings.EMAIL_TIMEOUT = 0.5
    began = time.monotonic()
    assert ask(client, "alice@example.org").status_code == 302
    assert time.monotonic() - began < 1.0
    assert tasks.send_resets() == 0
    assert tasks.send_resets() == 0
    server.hangs = False
    server.released.set()
    let_pass(31)
    assert tasks.send_resets() == 1
    assert len(server.letters) == 1


def test_a_worker_is_told_and_one_that_is_not_costs_nothing(
    client: Client, alice: User, server: MailServer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    prefix = settings.CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"]
    queue = f"{prefix}celery"
    redis_client.blocking().delete(queue)
    ask(client, "alice@example.org")
    message: Any = redis_client.blocking().lpop(queue)
    assert json.loads(message)["headers"]["task"] == "accounts.tasks.send_resets"

    def away(*_: Any, **__: Any) -> None:
        raise ConnectionRefusedError

    monkeypatch.setattr(current_app, "send_task", away)
    assert ask(client, "alice@example.org").status_code == 302
    assert tasks.send_resets() == 2


@pytest.mark.parametrize("listens", [True, False])
def test_the_page_does_not_wait_for_a_broker_that_is_away(
    client: Client, alice: User, server: MailServer, monkeypatch: pytest.MonkeyPatch, listens: bool
) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        if listens:
            mute.listen()
        address = f"redis://127.0.0.1:{mute.getsockname()[1]}/0"
        monkeypatch.setattr(current_app.conf, "broker_url", address)
        began = time.monotonic()
        assert ask(client, "alice@example.org").status_code == 302
        assert time.monotonic() - began < 1.5
    assert tasks.send_resets() == 1


def test_waits_grow_and_end(client: Client, alice: User, server: MailServer) -> None:
    server.recipient_answer = b"451 later"
    ask(client, "alice@example.org")
    waits = []
    for _ in range(9):
        assert tasks.send_resets() == 0
        row = ResetRequest.objects.get()
        waits.append(round((row.due_at - timezone.now()).total_seconds(), -1))
        let_pass(1801)
    assert waits == [30, 60, 120, 240, 480, 960, 1800, 1800, 1800]
    ResetRequest.objects.update(created_at=F("created_at") - timedelta(hours=7))
    assert tasks.send_resets() == 1
    assert not ResetRequest.objects.exists()


def test_a_mailbox_that_is_refused_for_good_is_not_tried_again(
    client: Client, alice: User, server: MailServer
) -> None:
    server.recipient_answer = b"550 nobody here"
    ask(client, "alice@example.org")
    assert tasks.send_resets() == 1
    assert not ResetRequest.objects.exists()


def test_two_workers_send_one_letter(client: Client, alice: User, server: MailServer) -> None:
    ask(client, "alice@example.org")
    row = ResetRequest.objects.get()
    assert resets._claim(row)
    assert not resets._claim(row)
    assert tasks.send_resets() == 0
    assert server.letters == []


def test_one_mailbox_is_not_flooded(client: Client, alice: User, server: MailServer) -> None:
    answers = {
        ask(client, email).status_code for email in ["alice@example.org", "ALICE@example.org"] * 4
    }
    assert answers == {302}
    assert tasks.send_resets() == 3


def test_one_network_address_is_slowed(client: Client, alice: User, server: MailServer) -> None:
    codes = [ask(client, f"somebody{n}@example.org").status_code for n in range(22)]
    assert codes == [302] * 20 + [429] * 2
    refused = ask(client, "alice@example.org")
    assert int(refused.headers["Retry-After"]) > 60
    assert "Too many attempts" in refused.content.decode()
    assert ask(client, "alice@example.org", REMOTE_ADDR="198.51.100.7").status_code == 302


def test_without_a_mail_server_the_page_names_who_can_help(
    client: Client, alice: User, settings: Any
) -> None:
    settings.EMAIL_BACKEND = env.mail("")["EMAIL_BACKEND"]
    page = client.get(PAGE).content.decode()
    assert "Ask an administrator" in page
    assert 'name="email"' not in page
    assert ask(client, "alice@example.org").status_code == 302
    assert not ResetRequest.objects.exists()


def nobody(user: User) -> bool:
    return False


def test_who_is_no_staff_of_the_hub_gets_no_link(
    client: Client, alice: User, server: MailServer, settings: Any
) -> None:
    settings.HUB_IS_STAFF = f"{__name__}.nobody"
    ask(client, "alice@example.org")
    assert tasks.send_resets() == 1
    assert server.letters == []
