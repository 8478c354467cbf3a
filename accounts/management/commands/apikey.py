from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError

from accounts.authenticate import SCOPES, make_key


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

    def handle(self, *, username: str, scope: list[str] | None, name: str, **_: Any) -> None:
        model = get_user_model()
        user = model._default_manager.filter(**{model.USERNAME_FIELD: username}).first()
        if user is None:
            raise CommandError(f"There is no account {username!r}.")
        try:
            key, secret = make_key(user, name[:80], scope)
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stderr.write(f"A key for {username} with {', '.join(key.scopes)}:")
        self.stdout.write(secret)
