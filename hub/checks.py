"""Mistakes in the configuration, found before somebody waits for an event that never comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import redis
from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.utils.module_loading import import_string

from events import redis_client, topics

Apps = Sequence[AppConfig] | None


def at_start() -> list[CheckMessage]:
    """The ones that cost nothing, for a start that must be quick."""
    return [*group_names(None), *staff_predicate(None), *memory_layer(None), *proxy_headers(None)]


@register
def group_names(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    return [
        Error(
            f"HUB_GROUPS names {name!r}.",
            hint="Use letters, digits, - and _ only, at most 64 of them, a letter or digit first.",
            id="hub.E001",
        )
        for name in settings.HUB_GROUPS
        if not topics.GROUP_NAME.fullmatch(name)
    ]


@register
def staff_predicate(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    path = settings.HUB_IS_STAFF
    if not path:
        return []
    try:
        found = import_string(path)
    except ImportError as error:
        problem = f"{error}."
    else:
        problem = "" if callable(found) else f"{path} cannot be called."
    if not problem:
        return []
    hint = "Name a function of one user: package.module.function."
    return [Error(f"HUB_IS_STAFF: {problem}", hint=hint, id="hub.E002")]


@register
def memory_layer(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    if settings.HUB_LAYER != "memory":
        return []
    return [
        Warning(
            "HUB_LAYER=memory reaches one process only.",
            hint="What a worker or a second server publishes arrives late. Use pubsub or core.",
            id="hub.W001",
        )
    ]


@register(Tags.security)
def proxy_headers(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    if not settings.HUB_PROXY or settings.HUB_BIND in {"127.0.0.1", "::1", "localhost"}:
        return []
    return [
        Warning(
            f"The server listens on {settings.HUB_BIND} and believes X-Real-IP from whoever connects.",
            hint="Let it listen where only the proxy gets (HUB_BIND=127.0.0.1), or set HUB_PROXY=0.",
            id="hub.W005",
        )
    ]


@register(Tags.security, deploy=True)
def demo_accounts(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    if not settings.HUB_DEMO:
        return []
    return [
        Warning("Demo accounts with one shared password are on.", hint="HUB_DEMO=0", id="hub.W002")
    ]


@register(deploy=True)
def redis_keeps_everything(app_configs: Apps, **_: Any) -> list[CheckMessage]:
    """A Redis that evicts keys when it is full loses queued tasks without a word."""
    try:
        found = redis_client.blocking().config_get("maxmemory-policy")
    except (redis.ConnectionError, redis.TimeoutError) as error:
        return [Warning(f"Redis does not answer: {error}", hint="REDIS_URL", id="hub.W003")]
    except redis.RedisError:
        return []  # a hosted Redis may forbid the question
    policy = found.get("maxmemory-policy", "noeviction")
    if policy == "noeviction":
        return []
    return [
        Warning(
            f"Redis throws keys away when it is full (maxmemory-policy {policy}).",
            hint="Set maxmemory-policy noeviction: queued work lives there.",
            id="hub.W004",
        )
    ]
