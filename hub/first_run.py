"""What a hub needs before it serves: tables, and somebody who can sign in."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from accounts import demo, setup
from events import epoch
from hub import env


def keep_private() -> None:
    """What this process and those it starts write, and an SQLite database already there, are for this account."""
    os.umask(0o077)
    if connection.vendor != "sqlite":
        return
    for ending in ("", "-wal", "-shm"):
        path = Path(f"{connection.settings_dict['NAME']}{ending}")
        if path.is_file() and path.stat().st_mode & 0o007:
            path.chmod(path.stat().st_mode & 0o770)


def migrate() -> None:
    """Bring the tables up to date, and notice a database that went back in time; costs a few queries when all is well."""
    # One connection is all we need, and without a pool the reason of a failure is told.
    connection.settings_dict["OPTIONS"].pop("pool", None)
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        call_command("migrate", interactive=False, verbosity=0)
    epoch.check_mirror()


def address(port: int) -> str:
    """Where people find the hub when it listens on this port."""
    local = f"http://localhost:{settings.HUB_PORT}"
    return f"http://localhost:{port}" if local == settings.HUB_URL else str(settings.HUB_URL)


def sign_ins(at: str) -> str:
    """What to tell whoever started the hub: the demo's accounts, or where to make the administrator."""
    if settings.HUB_DEMO:
        password = env.kept(
            settings.HUB_DATA_DIR / "secrets" / "demo_password",
            lambda: settings.HUB_DEMO_PASSWORD or secrets.token_urlsafe(9),
        )
        people = demo.ensure(password)
        names = ", ".join(name for name, _ in people)
        told = f"Sign in as {names}. The password is {password} unless changed since."
        given = settings.HUB_DEMO_PASSWORD
        if given and (given != password or not any(is_new for _, is_new in people)):
            told += (
                "\nHUB_DEMO_PASSWORD was ignored: it is used only when the demo accounts are made."
            )
        return told
    if setup.needed():
        return f"Make the administrator, once, at {at}/accounts/setup/?token={setup.issue_token()}"
    return ""
