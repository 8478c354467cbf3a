"""What a system needs and this machine has not."""

from __future__ import annotations


class Missing(RuntimeError):
    """A system can't run here; says why."""
