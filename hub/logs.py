"""Log lines on standard error: JSON for machines, one plain line for a terminal."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Final

from django.http import HttpRequest

from events import about

_OWN_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_UNSAID: Final = frozenset({"data"})
"""What Celery adds to the failure of a task: its arguments, which may be anything."""

_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_BUT_NEWLINE: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST_BLAME: Final = 200
_TOKEN: Final = re.compile(r"([?&]token=|/password/reset/[^/\s]+/)[^&\s'\"/<>]+")
"""One-time links: who reads the log must not be able to use them."""


class WithoutTrace(logging.Filter):
    """For what somebody else did wrong, a foreign Host header say: one short line, as a warning."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.levelno, record.levelname = logging.WARNING, "WARNING"
        record.exc_info = record.exc_text = None
        record.msg, record.args = record.getMessage()[:_LONGEST_BLAME], ()
        return True


class Json(logging.Formatter):
    """One JSON object a line. What a caller passes as `extra` becomes fields, and so does what the work is about."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, object] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        for name, value in vars(record).items():
            if name not in _OWN_FIELDS | _UNSAID and not name.startswith("_"):
                entry.setdefault(name, value)
        for name, value in about.now().items():
            entry.setdefault(name, value)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return _escaped(_hidden(json.dumps(entry, ensure_ascii=False, default=_short)), _CONTROL)


class Text(logging.Formatter):
    """A message stays one line, whoever chose its words; a traceback follows on lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        message = _escaped(record.getMessage(), _CONTROL)
        ids = "".join(f" {name}={value}" for name, value in about.now().items())
        line = f"{at} {record.levelname.lower()} {record.name}: {message}{ids}"
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            line = f"{line}\n{_escaped(trace, _CONTROL_BUT_NEWLINE)}"
        return _hidden(line)


def _short(value: object) -> str:
    if isinstance(value, HttpRequest):  # its own text would hold the query, and what that may hold
        return f"{value.method} {value.path}"[:200]
    return repr(value)[:200]


def _hidden(line: str) -> str:
    return _TOKEN.sub(r"\1…", line)


def _escaped(text: str, characters: re.Pattern[str]) -> str:
    """Spelt as Python and JSON spell them: a terminal obeys none, and no line is forged."""
    return characters.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
