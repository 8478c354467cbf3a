"""The identity of the log, and how a database that went back in time is noticed.

Beside the database a small file mirrors how many offsets each epoch has given. A database that has given fewer
than its mirror says was restored from an older copy: clients may hold positions it does not know, so it starts a
new epoch and every client fetches its state again.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
from pathlib import Path
from typing import Final

from django.conf import settings
from django.db.models import Sum

from events.models import Epoch, Topic

logger = logging.getLogger(__name__)

_ROW: Final = 1
_BYTES: Final = 8


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


def check_mirror() -> bool:
    """Start a new epoch when this database is older than its mirror. Returns whether it did."""
    value = current()
    noted = _read_mirror().get(
        value, 0
    )  # before the database: whoever writes it later has read more there
    if _given() >= noted:
        return False
    logger.warning("The database is older than %s says: starting a new epoch", _path())
    renew()
    return True


def write_mirror() -> None:
    """Note what has been given so far; a data directory that can't be written only costs the check."""
    value, given = current(), _given()
    known = _read_mirror()
    if known.get(value, -1) >= given:
        return
    draft = _path().with_name(f"heads.json.{socket.gethostname()}.{os.getpid()}")
    try:
        draft.write_text(json.dumps({**known, value: given}), encoding="utf-8")
        draft.replace(_path())
    except OSError as error:
        logger.debug("Mirror of heads not written: %s", error)


def _fresh() -> str:
    return secrets.token_hex(_BYTES)


def _given() -> int:
    return int(Topic.objects.aggregate(total=Sum("head"))["total"] or 0)


def _path() -> Path:
    return Path(settings.HUB_DATA_DIR) / "heads.json"


def _read_mirror() -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads(_path().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found
