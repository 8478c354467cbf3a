"""Writing down that something was used, without ever waiting for it."""

from __future__ import annotations

import logging
from typing import Any, Final

from django.db import Error as DatabaseTrouble
from django.db import connections, models, transaction

logger = logging.getLogger(__name__)

PATIENCE: Final = 50
"""Milliseconds to wait for a lock before the note is dropped."""


def touch(rows: models.QuerySet[Any], **values: Any) -> int:
    """`rows.update(**values)` that gives up when the rows are locked. Returns how many were updated."""
    try:
        return _briefly(rows, values)
    except DatabaseTrouble as error:
        logger.debug("note of use dropped: %s", error)
        return -1


def _briefly(rows: models.QuerySet[Any], values: dict[str, Any]) -> int:
    connection = connections[rows.db]
    if connection.in_atomic_block or connection.vendor not in {"sqlite", "postgresql"}:
        with transaction.atomic(using=rows.db):
            return rows.update(**values)
    if connection.vendor == "postgresql":
        with transaction.atomic(using=rows.db):
            with connection.cursor() as cursor:
                cursor.execute(f"SET LOCAL lock_timeout = {PATIENCE}")
            return rows.update(**values)
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA busy_timeout")
        usual = int(cursor.fetchone()[0])
        cursor.execute(f"PRAGMA busy_timeout = {PATIENCE}")
    try:
        return rows.update(**values)
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA busy_timeout = {usual}")
