"""The databases that are measured, and the disk below them."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import tempfile
import time
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

from benchmarks.missing import Missing

ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def postgres(preload: str = "") -> Iterator[str]:
    """The address of a private PostgreSQL with `fsync=on` and this library; nothing when there is none."""
    os.environ.pop("TEST_DATABASE_URL", None)  # only a server of our own is filled
    with _script("test").postgres(fsync=True, preload=preload) as url:
        yield url.replace("/hub?", "/postgres?")


@contextlib.contextmanager
def environment(system: str, preload: str = "") -> Iterator[dict[str, str]]:
    """What the hub is to be run with: `hub_postgres` on a private PostgreSQL, the others on SQLite. Raises Missing."""
    if system != "hub_postgres":
        yield {}
        return
    with postgres(preload) as url:
        if not url:
            raise Missing("there is no PostgreSQL")
        yield {"DATABASE_URL": url}


def commits_per_s(seconds: float = 1.0) -> float:
    """A page written and synced, one after the other, where the databases of a run lie."""
    with tempfile.TemporaryFile() as file:
        began, done = time.monotonic(), 0
        while time.monotonic() < began + seconds:
            os.pwrite(file.fileno(), os.urandom(4096), done % 256 * 4096)
            os.fdatasync(file.fileno())
            done += 1
        return done / (time.monotonic() - began)


def _script(name: str) -> Any:
    loader = SourceFileLoader(name, str(ROOT / "scripts" / name))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module
