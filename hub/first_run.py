"""What a hub needs before it serves: tables, and somebody who can sign in."""

from __future__ import annotations

import secrets

from django.conf import settings
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from accounts import demo, setup
from hub import env


def migrate() -> None:
    """Bring the tables up to date; costs a few queries when they are."""
    # One connection is all we need, and without a pool the reason of a failure is told.
    connection.settings_dict["OPTIONS"].pop("pool", None)
    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        call_command("migrate", interactive=False, verbosity=0)


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
        names = ", ".join(name for name, _ in demo.ensure(password))
        return f"Sign in as {names}. The password is {password} unless changed since."
    if setup.needed():
        return f"Make the administrator, once, at {at}/accounts/setup/?token={setup.issue_token()}"
    return ""
