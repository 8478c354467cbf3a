"""Hub from the command line. Knows only the hub's HTTP API; docs/hubctl.md says how it is used."""

from __future__ import annotations

__version__ = "0.1.0"
