"""What the hub says of a job is read in the reader's language, whoever started it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import translation

from accounts import profiles
from accounts.authenticate import make_key
from events.models import Event
from notifications.models import Notification
from tasks import jobs, sentences
from tasks.models import Job, State
from tests.people import person

pytestmark = pytest.mark.django_db(transaction=True)

EXPORT = "notifications.export"
KOREAN, ENGLISH = "내 알림 내보내기", "Export my notifications"
NOT_ALLOWED = "이 작업을 시작한 사람에게 이제 그럴 권한이 없어요."


def speaking(language: str, **kind: Any) -> User:
    user = person(f"{language}-{len(kind)}", **kind)
    profile = profiles.of(user)
    profile.language = language
    profile.save()
    return user


def reader(user: User) -> Client:
    client = Client(headers={"Accept-Language": "en"})
    client.force_login(user)
    return client


def failed(owner: User, error: str) -> Job:
    job = jobs.create(kind=EXPORT, owner=owner)
    jobs.claim(job.pk, 1, 60)
    ended = jobs.finish(job.pk, 1, State.FAILED, error=error)
    assert ended is not None
    return ended


def test_a_title_and_a_sentence_of_the_hub_are_in_the_language_of_who_reads_them():
    owner, boss = speaking("ko"), speaking("en", is_superuser=True)
    job = failed(owner, sentences.NOT_ALLOWED)
    for user, title, error in [
        (owner, KOREAN, NOT_ALLOWED),
        (boss, ENGLISH, sentences.NOT_ALLOWED),
    ]:
        client = reader(user)
        listed = client.get("/api/v1/jobs").json()["items"][0]
        assert (listed["title"], listed["error"]) == (title, error)
        read = client.get(f"/api/v1/jobs/{job.pk}").json()
        assert (read["title"], read["attempts"][0]["error"]) == (title, error)
        assert title in client.get("/jobs/").content.decode()
        page = client.get(f"/jobs/{job.pk}/").content.decode()
        assert f'<h1 data-slot="title">{title}</h1>' in page
        assert error in page
        _key, secret = make_key(user, "test")
        by_key = Client(headers={"Authorization": f"Bearer {secret}"})
        assert by_key.get(f"/api/v1/jobs/{job.pk}").json()["title"] == title


def test_an_event_is_in_the_language_of_the_owner_whoever_moves_the_job():
    owner = speaking("ko")
    with translation.override("en"):
        failed(owner, sentences.NOT_ALLOWED)
    told = Event.objects.filter(topic=f"user.{owner.pk}", type__startswith="job.")
    assert {json.loads(event.data)["title"] for event in told} == {KOREAN}
    assert json.loads(told.get(type="job.failed").data)["error"] == NOT_ALLOWED
    note = Notification.objects.get(recipient=owner)
    assert (note.title, note.body.split("\n")[0]) == (f"{KOREAN}: 실패했어요", NOT_ALLOWED)


def test_what_a_script_or_a_task_says_stays_as_it_is():
    owner = speaking("ko")
    said = "Whoever started this job may no longer do so. Really."
    assert jobs.item(failed(owner, said))["error"] == said
    with translation.override("ko"):
        assert sentences.translated("Traceback\nValueError: x") == "Traceback\nValueError: x"
    named = jobs.create(kind=EXPORT, owner=owner, title="Nightly")
    assert jobs.item(named)["title"] == "Nightly"
