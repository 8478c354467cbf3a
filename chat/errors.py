"""Why a room or a message is as it was."""

from __future__ import annotations


class NoSuchRoom(LookupError):
    """It does not exist, was deleted, or is not this person's to read: the three are not told apart."""


class NoSuchMessage(LookupError):
    """Not in this room, whatever else it may be."""


class NotAllowed(PermissionError):
    """Whoever asks reads the room, and may not do this there. The text says who may."""


class NotPossible(ValueError):
    """Nobody could: the text says why in one sentence."""


class InvalidChat(ValueError):
    """`field` can't be accepted as it is, `detail` says what can."""

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(f"{field}: {detail}")
        self.field = field
        self.detail = detail
