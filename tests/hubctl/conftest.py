from __future__ import annotations

import secrets

import pytest
from django.contrib.auth.models import Group, User

from accounts.authenticate import make_key
from tests.hubctl.running import Hubctl
from tests.live import LiveServer, newcomer


@pytest.fixture
def person(live_db: None) -> User:
    return newcomer(is_superuser=True)


@pytest.fixture
def topic(person: User) -> str:
    """Where nobody else publishes; `person`, a superuser, may."""
    return f"team.{Group.objects.create(name=secrets.token_hex(8)).pk}"


@pytest.fixture
def hubctl(hub_server: LiveServer, person: User) -> Hubctl:
    """With the key of `person`."""
    return Hubctl(hub_server.url, make_key(person, "hubctl")[1])
