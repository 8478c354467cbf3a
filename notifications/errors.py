"""What can be wrong with something that staff are to be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from notifications.models import Announcement


class InvalidContent(ValueError):
    """`field` is the argument that cannot be accepted, `detail` one sentence that says what can."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail


class InvalidNotification(InvalidContent):
    """Nothing was stored and nobody was told."""


class InvalidAnnouncement(InvalidContent):
    """Nothing was stored or changed."""


class AnnouncementChanged(Exception):
    """Somebody else changed it since it was read: nothing was stored. `row` is what it is now."""

    def __init__(self, row: Announcement) -> None:
        super().__init__(f"announcement {row.pk} was changed meanwhile")
        self.row = row


class NoSuchNotification(LookupError):
    """It does not exist, or it is in somebody else's inbox: the two are not told apart."""
