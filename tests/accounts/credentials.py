"""Credentials of somebody who is certainly let in."""

from __future__ import annotations

from django.contrib.auth.models import User
from django.test import Client

from accounts.authenticate import Credential, from_request_headers


def by_session(session_key: str) -> Credential:
    found = from_request_headers(None, session_key)
    assert found is not None
    return found


def by_key(secret: str) -> Credential:
    found = from_request_headers(f"Bearer {secret}", None)
    assert found is not None
    return found


def browser(user: User) -> tuple[Client, str]:
    """A browser in which this person is signed in, and its session key."""
    client = Client()
    client.force_login(user)
    key = client.session.session_key
    assert key is not None
    return client, key
