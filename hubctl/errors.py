"""What goes wrong, each with the exit code that it means. Their text is one line: what was wrong, what to do."""

from __future__ import annotations

from typing import ClassVar


class HubctlError(Exception):
    exit_code: ClassVar[int]


class Unusable(HubctlError):
    """Wrong use: arguments or configuration."""

    exit_code = 2


class Refused(HubctlError):
    """The hub answered no; the same request again gets the same answer. `status` is that of HTTP."""

    exit_code = 3

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Away(HubctlError):
    """The hub could not be reached, or can't answer now: later it may. `retry_after`: seconds, when it said so;
    `status` that of HTTP, when there was an answer."""

    exit_code = 4

    def __init__(
        self, message: str, status: int | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
