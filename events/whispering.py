"""Unlogged, best-effort hints: typing, presence, progress ticks. The last one wins."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import orjson
from asgiref.sync import async_to_sync

from events import layer
from events.publishing import encode

logger = logging.getLogger(__name__)


def whisper(topic: str, type: str, data: Mapping[str, Any]) -> None:
    """Tell whoever reads the topic right now. Never fails because Redis is away."""
    whisper_many([(topic, type, data)])


def whisper_many(items: Iterable[tuple[str, str, Mapping[str, Any]]]) -> None:
    """`whisper` many `(topic, type, data)`, in order and in few round trips."""
    messages = [(topic, _message(topic, type, data)) for topic, type, data in items]
    try:
        layer.group_send_many(messages)
    except layer.AWAY as error:
        logger.debug("%d whispers lost (%s)", len(messages), type_name(error))


async def awhisper(topic: str, type: str, data: Mapping[str, Any]) -> None:
    """`whisper` for async code."""
    message = _message(topic, type, data)
    try:
        await layer.current().group_send(topic, message)
    except Exception as error:  # noqa: BLE001 - a hint may be lost
        logger.debug("whisper %s lost (%s)", type, type_name(error))


def send(connection: str, type: str, data: Mapping[str, Any]) -> None:
    """Whisper to one connection (the `connection` of its `welcome`). One that is gone: dropped."""
    async_to_sync(asend)(connection, type, data)


async def asend(connection: str, type: str, data: Mapping[str, Any]) -> None:
    """`send` for async code."""
    channel, _, number = connection.rpartition("~")
    message = {
        "type": "hub.whisper",
        "connection": number,
        "whisper": {"type": type, "data": _plain(data)},
    }
    try:
        await layer.current().send(channel, message)
    except Exception as error:  # noqa: BLE001 - a hint may be lost
        logger.debug("whisper %s lost (%s)", type, type_name(error))


def _message(topic: str, type: str, data: Mapping[str, Any]) -> layer.Message:
    return {
        "type": "hub.whisper",
        "whisper": {"topic": topic, "type": type, "data": _plain(data)},
    }


def _plain(data: Mapping[str, Any]) -> Any:
    """The data as its readers get it: times, UUIDs and the like are text, as in an event."""
    return orjson.loads(encode(data))


def type_name(error: Exception) -> str:
    return error.__class__.__name__
