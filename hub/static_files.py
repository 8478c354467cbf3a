"""Static files: content-hashed names, ES modules included, collected only when something changed."""

from __future__ import annotations

import hashlib
import os
from typing import Final

import django
from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command
from whitenoise.storage import CompressedManifestStaticFilesStorage

MARK: Final = ".collected"


class HashedFiles(CompressedManifestStaticFilesStorage):  # type: ignore[misc]
    """Rewrites `import … from "./x.js";` too; every import must end with a semicolon for that."""

    support_js_module_import_aggregation = True


def collect() -> bool:
    """Bring STATIC_ROOT up to date; costs a directory walk when it is. Returns whether anything was written."""
    mark = settings.STATIC_ROOT / MARK
    now = _fingerprint()
    if mark.is_file() and mark.read_text(encoding="utf-8") == now:
        return False
    mark.unlink(missing_ok=True)
    before = os.umask(0o022)  # a web server that runs as somebody else may read these
    try:
        call_command("collectstatic", interactive=False, clear=True, verbosity=0)
        mark.write_text(now, encoding="utf-8")
    finally:
        os.umask(before)
    return True


def _fingerprint() -> str:
    digest = hashlib.sha256(django.__version__.encode())
    for finder in get_finders():
        for path, storage in finder.list([]):
            size = storage.size(path)
            changed = storage.get_modified_time(path).timestamp()
            digest.update(f"{path}\0{size}\0{changed}\n".encode())
    return digest.hexdigest()
