"""What can be wrong with something that somebody wants to publish."""

from __future__ import annotations


class InvalidEvent(ValueError):
    """The topic, type or data cannot stand in the log; the text says which and what is accepted."""


class EventTooLarge(InvalidEvent):
    """The encoded data exceeds `publishing.MAX_DATA`."""
