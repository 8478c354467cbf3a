from __future__ import annotations

from collections.abc import Mapping


class Cancelled(BaseException):
    """Raised inside a job that somebody cancelled, or that the hub has given up.

    No Exception: a task that goes on after a row that fails must not go on after this.
    """


class Failed(Exception):
    """Raised by a task that can't go on, for a reason that people understand: the text, without a trace."""


class NotPossible(Exception):
    """What was asked for does not fit the job's state; the text says why."""


class NoSuchJob(Exception):
    """It does not exist, or not for this person."""


class NotStartable(Exception):
    """There is no such task to be started by hand, or not by this person."""


class InvalidArguments(Exception):
    """The task's form refused: `fields` has a sentence for each field, `__all__` for what concerns several."""

    def __init__(self, fields: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {why}" for name, why in fields.items()))
        self.fields = dict(fields)


class TooLarge(Exception):
    """A file, or a job's files, beyond what is kept; the text says how much that is."""
