"""What staff are told: notifications in their inboxes, announcements, and events of saved models.

The verbs are looked up on first use: an app's package is imported before its models may be.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from notifications.model_events import watch
    from notifications.notifying import EVERYONE, notify, withdraw

_HOMES = {
    "EVERYONE": "notifications.notifying",
    "notify": "notifications.notifying",
    "watch": "notifications.model_events",
    "withdraw": "notifications.notifying",
}

__all__ = ["EVERYONE", "notify", "watch", "withdraw"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'notifications' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
