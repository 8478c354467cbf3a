from __future__ import annotations

import signal
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from hub import backups


class Command(BaseCommand):
    help = "Fill an empty database from a backup. Every client fetches its state again."
    requires_migrations_checks = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("file", type=Path)

    def handle(self, *args: Any, file: Path, **options: Any) -> None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is half done is taken away
        try:
            backups.read(file, lambda line: self.stderr.write(line))
        except backups.Refused as refusal:
            raise CommandError(str(refusal)) from None
        self.stdout.write("Restored. Start the hub: every client fetches its state again.")
