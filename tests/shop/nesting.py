"""Transactions in transactions, for whoever calls it: a view, a task, a command."""

from __future__ import annotations

from typing import Final

from django.db import transaction

from tests.shop.models import Order

DEPTHS: Final = (1, 2, 3)
ENDINGS: Final = ("commit", "inner", "outer")
"""All commits; the innermost one is rolled back and that is caught; the outermost one is rolled back."""


class Undone(Exception):
    pass


def nest(mark: str, depth: int, ending: str) -> None:
    """Save an order on each level."""
    try:
        _level(mark, 1, depth, ending)
    except Undone:
        return


def _level(mark: str, level: int, depth: int, ending: str) -> None:
    with transaction.atomic():
        Order.objects.create(name=f"{mark}{level}")
        if level < depth:
            try:
                _level(mark, level + 1, depth, ending)
            except Undone:
                if ending != "inner":
                    raise
        elif ending == "inner" and level > 1:
            raise Undone
        if level == 1 and ending == "outer":
            raise Undone
