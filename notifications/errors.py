"""What can be wrong with something that staff are to be told."""

from __future__ import annotations


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


class NoSuchNotification(LookupError):
    """It does not exist, or it is in somebody else's inbox: the two are not told apart."""
