"""The oldest versions that the hub's promises hold with, asked for at every start.

An installer keeps to them by itself; an image built by hand, or a package changed under a running hub, may not.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from django.core.exceptions import ImproperlyConfigured

FLOORS: Final = {
    "django": "5.2.8",
    "daphne": "4.2.2",  # CVE-2026-44545: frames without a limit; CVE-2026-44546: smuggled headers
    "asgiref": "3.12.1",  # nested calls between sync and async code could deadlock before
    "channels": "4.3.2",
    "channels-redis": "4.3",
    "celery": "5.7",
    "redis": "8",
}


def require() -> None:
    """Raises ImproperlyConfigured, in one line, for the first that is older or not there."""
    for name, floor in FLOORS.items():
        try:
            found = version(name)
        except PackageNotFoundError:
            raise ImproperlyConfigured(f"{name} is not installed: the hub needs {floor}.") from None
        if _numbers(found) < _numbers(floor):
            raise ImproperlyConfigured(
                f"{name} {found} is installed: the hub needs {floor} or newer."
            )


def _numbers(text: str) -> tuple[int, ...]:
    """Of the release alone: `5.2rc1` counts as 5.2."""
    release = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, release[0].split("."))) if release else ()
