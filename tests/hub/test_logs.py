"""A log line is one line, and says nothing that was not meant for it."""

from __future__ import annotations

import json
import logging
import sys

from django.test import RequestFactory

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
        for end in ("\r\n", "\n", "\x0b", "\x85", "\u2028"):
            line = formatter.format(record(f"hello{end}00:00:00 error hub: forged"))
            assert len(line.splitlines()) == 1


def test_no_log_speaks_to_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\x9b2J\x7f"
    try:
        raise KeyError(evil) from ValueError(evil)
    except KeyError:
        failed = record(evil, exc_info=sys.exc_info(), path=evil)
    for formatter in (Json(), Text()):
        line = formatter.format(failed)
        assert not set(line) & set("\x1b\x07\x9b\x7f")
    assert json.loads(Json().format(failed))["message"] == evil


def test_one_time_links_are_not_logged() -> None:
    request = RequestFactory().get("/accounts/setup/?a=1&token=sw0rdfish")
    words = "GET /accounts/setup/?token=sw0rdfish&b=2 and /accounts/password/reset/MQ/sw0rdfish/"
    for formatter in (Json(), Text()):
        line = formatter.format(record(words, request=request))
        assert "sw0rdfish" not in line
        assert "b=2" in line
    assert json.loads(Json().format(record("x", request=request)))["request"] == (
        "GET /accounts/setup/"
    )


def test_a_traceback_is_kept() -> None:
    try:
        raise KeyError("gone")
    except KeyError:
        failed = record("failed", exc_info=sys.exc_info())
    assert "KeyError: 'gone'" in json.loads(Json().format(failed))["exception"]
    assert "KeyError: 'gone'" in Text().format(failed)
