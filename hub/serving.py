"""What holds only in processes that answer requests: the database may not keep somebody waiting."""

from __future__ import annotations

from typing import Final

from django.db import connections

BOUNDS: Final = "-c statement_timeout=5s -c lock_timeout=2s"


def bound_statements() -> None:
    """Call before the first query. PostgreSQL then ends what takes too long, and the caller reads 503."""
    for alias in connections:
        found = connections.settings[alias]
        if found["ENGINE"] == "django.db.backends.postgresql":
            options = found["OPTIONS"]
            if BOUNDS not in options.get("options", ""):
                options["options"] = f"{options.get('options', '')} {BOUNDS}".strip()
