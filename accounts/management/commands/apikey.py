from __future__ import annotations

from argparse import ArgumentParser, ArgumentTypeError
from typing import Any, Final

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from accounts.authenticate import SCOPES, make_key

LONGEST: Final = 3650
"""Days."""


class Command(BaseCommand):
    help = "Make an API key for somebody. The key stands alone on the last line and is not shown again."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("username")
        parser.add_argument(
            "--scope",
            action="append",
            choices=SCOPES,
            help="Give it several times; without it: everything that the person may have.",
        )
        parser.add_argument("--name", default="manage.py apikey", help="What the key is for.")
        parser.add_argument(
            "--days", type=_days, help="It expires after so many; without it: never."
        )

    def handle(
        self,
        *,
        username: str,
        scope: list[str] | None,
        name: str,
        days: int | None = None,
        **_: Any,
    ) -> None:
        model = get_user_model()
        user = model._default_manager.filter(**{model.USERNAME_FIELD: username}).first()
        if user is None:
            raise CommandError(f"There is no account {username!r}.")
        try:
            key, secret = make_key(user, name[:80], scope, days=days)
        except ValueError as error:
            raise CommandError(str(error)) from None
        until = f", until {key.expires_at:%Y-%m-%d}" if key.expires_at else ""
        self.stderr.write(f"A key for {username} with {', '.join(key.scopes)}{until}:")
        self.stdout.write(secret)


def _days(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:10]) <= LONGEST:
        raise ArgumentTypeError(f"{text!r}: use a number of days from 1 to {LONGEST}.")
    return int(text)
