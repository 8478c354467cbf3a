"""What deleted rooms leave behind, taken away in short bites."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from django.db import connection
from django.utils import timezone

from chat import mentions
from chat.models import Room
from events import log, topics

KEPT: Final = timedelta(hours=1)
"""After its deletion: who comes back meanwhile is told of it as the member that they were."""
_ROWS: Final = 500
_MESSAGES: Final = 40
"""Of 4000 characters each, which the search index has to forget, too, they hold SQLite's one writer for some 50 ms."""


def prune() -> int:
    """Returns how many rows went. What a kill interrupts goes on the next time: the room's own row is the last."""
    deleted = Room.objects.filter(deleted_at__lt=timezone.now() - KEPT).order_by("deleted_at")
    return sum(_take_away(pk) for pk in deleted.values_list("pk", flat=True))


def _take_away(room_id: int) -> int:
    gone = mentions.take_back(room_id)
    gone += _bite_by_bite("hub_chat_membership", room_id, _ROWS)
    gone += _bite_by_bite("hub_chat_message", room_id, _MESSAGES)
    log.clear(topics.room(room_id))
    return gone + Room.objects.filter(pk=room_id).delete()[0]


def _bite_by_bite(table: str, room_id: int, rows: int) -> int:
    """Each statement is its own transaction."""
    gone = 0
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                f"""
                DELETE FROM {table} WHERE id IN (
                    SELECT id FROM {table} WHERE room_id = %s LIMIT %s
                )
                """,  # noqa: S608 - the names are those above
                [room_id, rows],
            )
            bite = int(cursor.rowcount)
        gone += bite
        if bite < rows:
            return gone
