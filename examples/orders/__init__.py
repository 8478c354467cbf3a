"""An app of somebody's own whose orders the hub watches: `HUB_APPS=examples.orders make run`."""

from __future__ import annotations
