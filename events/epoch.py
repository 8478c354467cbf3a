"""The identity of the log, and how a database that went back in time is noticed.

Beside the database a small file mirrors the newest events: the place of each and when it was. A database that lacks
one of them, or has given its place to another, was restored from an older copy, or is a replica that had not got so
far: clients may hold positions it does not know, so it starts a new epoch and every client fetches its state again.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
from collections.abc import Mapping
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db.models import Q

from events.models import Epoch, Event, Topic

logger = logging.getLogger(__name__)

_ROW: Final = 1
_BYTES: Final = 8
_NEWEST: Final = 100
"""Events in the mirror: what goes back in time lacks the newest ones first."""
_EPOCHS: Final = 3
"""Epochs in the mirror: an older copy may be of an older one."""

Newest = dict[str, tuple[int, str]]
"""Of each topic the place of one event, and its `at`."""


def current() -> str:
    value = Epoch.objects.filter(pk=_ROW).values_list("value", flat=True).first()
    if value is None:
        value = Epoch.objects.get_or_create(pk=_ROW, defaults={"value": _fresh()})[0].value
    return value


def is_one(text: str) -> bool:
    """Whether this could be the name of an epoch, ours or another installation's."""
    return len(text) == 2 * _BYTES and set(text) <= set("0123456789abcdef")


def renew() -> str:
    """Start a new epoch: every client's position becomes a `reset`. Returns it."""
    return Epoch.objects.update_or_create(pk=_ROW, defaults={"value": _fresh()})[0].value


def renew_from(former: str) -> None:
    """`renew`, unless somebody else has by now: of many processes that find the same one does it."""
    Epoch.objects.filter(pk=_ROW, value=former).update(value=_fresh())


def check_mirror() -> bool:
    """Start a new epoch when this database is older than its mirror. Returns whether it was."""
    value = current()
    noted = _read_mirror().get(value)  # before the database: whoever writes it later has read more
    if not noted or _has(noted):
        return False
    logger.warning("The database is older than %s says: starting a new epoch", _path())
    renew_from(value)
    return True


def write_mirror() -> None:
    """Note the newest events; a data directory that can't be written only costs the check."""
    value, newest = current(), _newest()
    known = _read_mirror()
    if known.get(value) == newest:
        return
    known.pop(value, None)
    kept = dict([*known.items(), (value, newest)][-_EPOCHS:])
    draft = _path().with_name(f"heads.json.{socket.gethostname()}.{os.getpid()}")
    try:
        draft.write_text(json.dumps(kept), encoding="utf-8")
        draft.replace(_path())
    except OSError as error:
        logger.debug("Mirror of heads not written: %s", error)


def _fresh() -> str:
    return secrets.token_hex(_BYTES)


def _newest() -> Newest:
    rows = Event.objects.filter(offset__isnull=False).order_by("-id")
    found = rows.values_list("topic", "offset", "at")[:_NEWEST]
    return {
        topic: (offset, at.isoformat())
        for topic, offset, at in reversed(found)
        if offset is not None
    }


def _has(noted: Mapping[str, tuple[int, str]]) -> bool:
    heads = dict(Topic.objects.filter(name__in=noted).values_list("name", "head"))
    if any(heads.get(topic, 0) < offset for topic, (offset, _) in noted.items()):
        return False
    # What is pruned may be gone, but nothing else may stand in its place.
    places = reduce(or_, (Q(topic=name, offset=place[0]) for name, place in noted.items()))
    rows = Event.objects.filter(places).values_list("topic", "at")
    return all(noted[topic][1] == at.isoformat() for topic, at in rows)


def _path() -> Path:
    return Path(settings.HUB_DATA_DIR) / "heads.json"


def _read_mirror() -> dict[str, Newest]:
    try:
        found = json.loads(_path().read_text(encoding="utf-8"))
        return {
            value: {topic: (int(offset), str(at)) for topic, (offset, at) in newest.items()}
            for value, newest in found.items()
        }
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
