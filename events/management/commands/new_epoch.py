from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from events import epoch


class Command(BaseCommand):
    help = "Start a new epoch of the log: every connected client fetches its state again."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(epoch.renew())
