from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from tests.shop.nesting import DEPTHS, ENDINGS, nest


class Command(BaseCommand):
    help = "Save orders in transactions in transactions, of every depth and with every ending."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("mark")

    def handle(self, *args: Any, mark: str, **options: Any) -> None:
        for depth in DEPTHS:
            for ending in ENDINGS:
                nest(f"{mark}{depth}-{ending}-", depth, ending)
