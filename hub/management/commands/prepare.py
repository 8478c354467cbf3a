"""`manage.py prepare`: what a deployment runs once before its servers start."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from hub import first_run, static_files


class Command(BaseCommand):
    help = "Migrate, collect static files, and say how to make the first administrator."

    def handle(self, *args: Any, **options: Any) -> None:
        first_run.keep_private()
        first_run.migrate()
        static_files.collect()
        told = first_run.sign_ins(first_run.address(settings.HUB_PORT))
        self.stdout.write(told or "Ready.")
