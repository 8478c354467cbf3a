"""What every door does first: who is it, what do they ask for, may they."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qs

from django.contrib.auth.models import User

from accounts import audience, authenticate, refusals
from accounts.authenticate import Credential
from consumers import cursor as cursors
from consumers.cursor import BadCursor, Cursor
from consumers.database import soon, together
from events import epoch

logger = logging.getLogger(__name__)

MOST_TOPICS: Final = 100
"""Topics in `topics=`, and those that `subscribe` may add to one connection."""
MOST_WAIT: Final = 30  # seconds
NAMED: Final = 5
"""Refused topics that a log line names, and 80 characters of each."""
USUAL: Final = "*"
"""In `topics=` of `/events/…`: those that `/ws/` implies."""


class BadQuery(ValueError):
    """The query of an address can't be understood; says why."""


@dataclass(frozen=True)
class Query:
    topics: tuple[str, ...]
    cursor: Cursor | None
    wait: float
    absent: frozenset[str] = frozenset()
    """Of the topics, the rooms that are only listened to: the person does not count as being there."""


@dataclass(frozen=True)
class Visitor:
    credential: Credential
    user: User
    implied: tuple[str, ...]
    """The topics that `/ws/` and plain `/events/…` serve at once."""


def headers_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """Lower-case names; of a repeated one the last counts, except Origin, where any doubt means none of ours."""
    found: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name == "origin" and name in found else value
    return found


async def identify(authorization: str | None, session_key: str | None) -> Visitor | None:
    """None: not signed in. Raises InvalidKey for a bad Authorization header, OperationalError without a database."""
    if authorization is not None:
        return await soon(_by_key, authorization)
    if not session_key:
        return None
    return (await together(_by_sessions, [session_key])).get(session_key)


async def readable(credential: Credential, names: Sequence[str]) -> set[str]:
    """Those of these topics that this credential may read. Raises OperationalError without a database."""
    if "read" not in credential.scopes:
        return set()
    pairs = [(credential.user_id, name) for name in names]
    allowed = await together(audience.allowed, pairs)
    found = {name for _, name in allowed.intersection(pairs)}
    if refused := [name for name in names if name not in found]:
        shown = [name[:80] for name in refused[:NAMED]]
        logger.info("user %s was refused %s", credential.user_id, shown)
    return found


def _by_key(authorization: str) -> Visitor | None:
    found = authenticate.identify(authorization, None)
    if found is None:
        return None
    credential, user = found
    return Visitor(credential, user, tuple(audience.default_topics(credential.user_id)))


def _by_sessions(session_keys: Collection[str]) -> dict[str, Visitor]:
    found = authenticate.by_sessions(session_keys)
    implied = audience.default_topics_of({who.user_id for who, _ in found.values()})
    return {
        key: Visitor(who, user, tuple(implied[who.user_id])) for key, (who, user) in found.items()
    }


def origin_is_ours(headers: Mapping[str, str]) -> bool:
    return authenticate.origin_is_ours(headers.get("origin"), headers.get("host", ""))


def read_query(raw: bytes) -> Query:
    """Raises BadQuery."""
    try:
        values = parse_qs(raw.decode("utf-8"), keep_blank_values=True, errors="strict")
    except ValueError:
        raise BadQuery("the query is not UTF-8.") from None
    for name in ("topics", "cursor", "wait", "absent"):
        if len(values.get(name, [])) > 1:
            raise BadQuery(f"{name} stands there more than once.")
    cursor = read_cursor(values.get("cursor", [""])[0])
    absent = frozenset(_names(values, "absent"))
    return Query(tuple(_names(values, "topics")), cursor, _wait(values), absent)


def read_cursor(text: str) -> Cursor | None:
    """None for an empty text. Raises BadQuery."""
    if not text:
        return None
    try:
        found = cursors.read(text)
    except BadCursor as error:
        raise BadQuery(str(error)) from None
    if not found.positions and not epoch.is_one(found.epoch):
        raise BadQuery("cursor must read epoch~topic:offset~topic:offset….")
    return found


def _names(values: Mapping[str, list[str]], field: str) -> list[str]:
    names = [name for name in values.get(field, [""])[0].split(",") if name]
    if len(names) > MOST_TOPICS:
        refusals.count("topics")
        raise BadQuery(f"{field} names {len(names)} topics; at most {MOST_TOPICS} are accepted.")
    return names


def _wait(values: Mapping[str, list[str]]) -> float:
    text = values.get("wait", [str(MOST_WAIT)])[0]
    if not text.isascii() or not text.isdigit() or len(text) > 4:
        raise BadQuery(f"wait must be a whole number of seconds, at most {MOST_WAIT}.")
    return min(int(text), MOST_WAIT)
