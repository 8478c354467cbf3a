"""What an API route raises to refuse; `hub.api` gives every refusal one shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ninja.errors import HttpError

CODES: Final[Mapping[int, str]] = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    409: "conflict",
    413: "too_large",
    422: "invalid",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
}


class ApiError(HttpError):
    """`{"error": {code, detail, fields?}}` with this status; the code follows from the status unless given."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str = "",
        fields: Mapping[str, str] | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(status, detail)
        self.code = code or CODES.get(status, "error")
        self.fields = fields
        self.retry_after = retry_after


def forbidden(detail: str = "You may not do this, or it does not exist.") -> ApiError:
    return ApiError(403, detail)


def not_found(detail: str = "There is no such thing, or it is not yours to see.") -> ApiError:
    return ApiError(404, detail)
