"""The hub's own settings over a private data directory, Redis socket and database."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

_home = Path(tempfile.mkdtemp(prefix="hubtest-"))
atexit.register(shutil.rmtree, _home, ignore_errors=True)

os.environ["HUB_DATA_DIR"] = str(_home)
(_home / "static").mkdir()  # whitenoise warns about a missing one
os.environ["DATABASE_URL"] = os.environ.get("TEST_DATABASE_URL", "")
os.environ["REDIS_URL"] = f"unix://{_home}/redis.sock"
os.environ.setdefault("HUB_GROUPS", "sales,ops")
for _name in ("HUB_URL", "ALLOWED_HOSTS", "HUB_ORIGINS", "SECRET_KEY", "HUB_IS_STAFF", "HUB_APPS"):
    os.environ.pop(_name, None)

from hub.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # speed; never outside tests
_options: Any = DATABASES["default"]["OPTIONS"]  # noqa: F405
_options.pop("pool", None)  # a pool's idle sessions would outlive the tests
STORAGES = {
    **STORAGES,  # noqa: F405
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True  # nothing is collected for a test run
INSTALLED_APPS = ["tests.shop", *INSTALLED_APPS]  # noqa: F405
