"""Batch jobs: what Celery, or a script outside, runs, and what the hub knows about it.

```python
from tasks import attach, log, progress, track, tracked
```
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tasks.running import attach, log, progress, track
    from tasks.tracking import tracked

__all__ = ["attach", "log", "progress", "track", "tracked"]

_PLACES: Final = {
    "attach": "tasks.running",
    "log": "tasks.running",
    "progress": "tasks.running",
    "track": "tasks.running",
    "tracked": "tasks.tracking",
}


def __getattr__(name: str) -> Any:
    """Looked up on first use: the modules need models, and those need the applications to be loaded."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES[name]), name)
