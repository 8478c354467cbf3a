from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from accounts.authenticate import make_key
from tests.hubctl.running import Hubctl
from tests.live import LiveServer, newcomer


@pytest.fixture
def person(live_db: None) -> User:
    return newcomer(is_superuser=True)


@pytest.fixture
def hubctl(hub_server: LiveServer, person: User) -> Hubctl:
    """With the key of `person`."""
    return Hubctl(hub_server.url, make_key(person, "hubctl")[1])
