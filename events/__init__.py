"""Topics, the durable log, publishing and presence: the ground that every feature stands on.

The verbs are looked up on first use: an app's package is imported before its models may be.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from events.publishing import apublish, publish, publish_many
    from events.redaction import redact
    from events.whispering import asend, awhisper, send, whisper, whisper_many

_HOMES = {
    "publish": "events.publishing",
    "apublish": "events.publishing",
    "publish_many": "events.publishing",
    "redact": "events.redaction",
    "whisper": "events.whispering",
    "whisper_many": "events.whispering",
    "awhisper": "events.whispering",
    "send": "events.whispering",
    "asend": "events.whispering",
}

__all__ = [
    "apublish",
    "asend",
    "awhisper",
    "publish",
    "publish_many",
    "redact",
    "send",
    "whisper",
    "whisper_many",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'events' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
