"""Configuration that would fail later, or silently, is found by `manage.py check`."""

from __future__ import annotations

import pytest
import redis
from django.core.checks import CheckMessage
from django.test import override_settings

from events import redis_client
from hub import checks

NOT_CALLABLE = "a text"


def ids(found: list[CheckMessage]) -> list[str | None]:
    return [message.id for message in found]


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["sales", "ops-2_b"], []),
        (["sales team"], ["hub.E001"]),
        (["räume", "a.b"], ["hub.E001"] * 2),
        (["-sales", "_x", "a" * 65], ["hub.E001"] * 3),
    ],
)
def test_a_group_name_must_fit_the_channel_layer(names: list[str], found: list[str]) -> None:
    with override_settings(HUB_GROUPS=names):
        assert ids(checks.group_names(None)) == found


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("", []),
        ("accounts.audience.is_staff_of_hub", []),
        ("no.such.module", ["hub.E002"]),
        ("accounts.audience.nothing", ["hub.E002"]),
        (f"{__name__}.NOT_CALLABLE", ["hub.E002"]),
    ],
)
def test_the_staff_predicate_must_exist(path: str, found: list[str]) -> None:
    with override_settings(HUB_IS_STAFF=path):
        assert ids(checks.staff_predicate(None)) == found


def test_a_layer_in_memory_is_warned_of() -> None:
    assert ids(checks.memory_layer(None)) == []
    with override_settings(HUB_LAYER="memory"):
        assert ids(checks.memory_layer(None)) == ["hub.W001"]


def test_a_redis_that_evicts_is_warned_of(real_redis: str) -> None:
    client = redis.Redis.from_url(real_redis)
    try:
        assert ids(checks.redis_keeps_everything(None)) == []
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert ids(checks.redis_keeps_everything(None)) == ["hub.W004"]
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.close()


def test_a_redis_that_is_away_or_reserved_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    for error, found in ((redis.ConnectionError, ["hub.W003"]), (redis.ResponseError, [])):

        def ask(_: str, error: type[Exception] = error) -> None:
            raise error("no")

        monkeypatch.setattr(redis_client.blocking(), "config_get", ask)
        assert ids(checks.redis_keeps_everything(None)) == found


@pytest.mark.parametrize(
    ("proxy", "bind", "found"),
    [
        (True, "0.0.0.0", ["hub.W005"]),
        (True, "::", ["hub.W005"]),
        (True, "127.0.0.1", []),
        (False, "0.0.0.0", []),
    ],
)
def test_a_server_that_believes_everybody_is_warned_of(
    proxy: bool, bind: str, found: list[str]
) -> None:
    with override_settings(HUB_PROXY=proxy, HUB_BIND=bind):
        assert ids(checks.proxy_headers(None)) == found
