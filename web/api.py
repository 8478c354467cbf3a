"""`GET /api/v1/dashboard`."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from ninja import Router

from accounts.api_auth import Authenticated, account
from web.dashboard import snapshot

router = Router(tags=["hub"])


@router.get("/dashboard", auth=Authenticated("read"))
def dashboard(request: HttpRequest) -> dict[str, Any]:
    """Everything the dashboard shows, with the cursor that it goes on from."""
    return snapshot(account(request))
