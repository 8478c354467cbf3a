"""A log line is one line, and says nothing that was not meant for it."""

from __future__ import annotations

import json
import logging
import sys

from hub.logs import Json, Text


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "hub", "levelname": "WARNING", "msg": message, **extra})
    made.created = 0.0
    return made


def test_json_carries_what_was_passed_as_extra() -> None:
    entry = json.loads(Json().format(record("refused", user=7, topic="room.1")))
    assert entry["message"] == "refused"
    assert (entry["level"], entry["user"], entry["topic"]) == ("warning", 7, "room.1")
    assert entry["at"] == "1970-01-01T00:00:00.000+00:00"


def test_nobody_forges_a_line() -> None:
    for formatter in (Json(), Text()):
        line = formatter.format(record("hello\r\n00:00:00 error hub: forged"))
        assert len(line.splitlines()) == 1


def test_a_traceback_is_kept() -> None:
    try:
        raise KeyError("gone")
    except KeyError:
        failed = record("failed", exc_info=sys.exc_info())
    assert "KeyError: 'gone'" in json.loads(Json().format(failed))["exception"]
    assert "KeyError: 'gone'" in Text().format(failed)
