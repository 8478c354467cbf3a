from __future__ import annotations

import time

import pytest
from django.contrib.auth.models import User
from django.test import Client

from events import log, topics

pytestmark = pytest.mark.django_db(transaction=True)
GOOD = {"run": "abc-1", "sent_at": "1764000000000.25"}


def signed_in(user: User, *, checks: bool = False) -> Client:
    client = Client(enforce_csrf_checks=checks)
    client.force_login(user)
    return client


def test_a_ping_becomes_an_event_on_the_own_topic(alice):
    assert signed_in(alice).post("/connection/ping/", GOOD).status_code == 204
    [event] = log.page(topics.user(alice.pk), None, 5)
    assert (event.type, event.data) == (
        "connection.ping",
        {"run": "abc-1", "sent_at": 1764000000000.25},
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"run": "abc"},
        {"run": "abc", "sent_at": "nan"},
        {"run": "abc", "sent_at": "1e999"},
        {"run": "<b>", "sent_at": "1"},
        {"run": "x" * 37, "sent_at": "1"},
    ],
)
def test_what_is_no_ping_is_refused(alice, wrong):
    assert signed_in(alice).post("/connection/ping/", wrong).status_code == 400
    assert log.page(topics.user(alice.pk), None, 5) == []


def test_one_a_second_is_enough(alice):
    client = signed_in(alice)
    began = time.monotonic()
    answers = [client.post("/connection/ping/", GOOD)]
    while answers[-1].status_code == 204 and len(answers) < 50:
        answers.append(client.post("/connection/ping/", GOOD))
    passed = len(answers) - 1
    assert passed == len(log.page(topics.user(alice.pk), None, 50))
    assert 4 <= passed <= 5 + (time.monotonic() - began)
    assert (answers[-1].status_code, answers[-1]["Retry-After"]) == (429, "1")


def test_strangers_and_other_sites_may_not_ping(alice):
    assert Client().post("/connection/ping/", GOOD).status_code == 302
    assert signed_in(alice, checks=True).post("/connection/ping/", GOOD).status_code >= 400
    assert signed_in(alice).get("/connection/ping/").status_code == 405
    assert log.page(topics.user(alice.pk), None, 5) == []
