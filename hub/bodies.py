"""How large the body of a request may be, and where it may hold files."""

from __future__ import annotations

import re
from typing import Final

from tasks.files import UPLOAD_MAX

WITH_FILES: Final = UPLOAD_MAX + 1024 * 1024
"""Bytes: one file, and the fields around it."""
_TAKES_FILES: Final = re.compile(r"/api/v1/jobs|/jobs/start/[^/]+/")
"""Where a job is started; `deploy/nginx.conf` has the same."""


def limit(method: str | None, path: str, content_type: str | None, ordinary: int) -> int:
    """Bytes that a request with this head may bring: `ordinary`, or more for a form with files where one is taken."""
    if method != "POST" or not (content_type or "").lower().startswith("multipart/form-data"):
        return ordinary
    return WITH_FILES if _TAKES_FILES.fullmatch(path) else ordinary
