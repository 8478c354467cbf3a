"""The hub in one terminal: its own Redis and its processes, started and kept by `manage.py up`."""

from __future__ import annotations
