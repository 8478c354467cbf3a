"""`hubctl inbox`: own notifications."""

from __future__ import annotations

from hubctl.client import Hub
from hubctl.errors import Unusable
from hubctl.terminal import local_time, out, out_json, printable

PAGE_MOST = 100


def show(hub: Hub, *, unread: bool, limit: int, as_json: bool) -> int:
    """Newest first."""
    before, left = None, limit
    while left > 0:
        page = hub.get(
            "/inbox",
            state="unread" if unread else "all",
            limit=min(left, PAGE_MOST),
            before=before,
        )
        for one in page["items"]:
            if as_json:
                out_json(one)
                continue
            mark = " " if one["read"] else "*"
            line = (
                f"{one['id']:>8} {mark} {local_time(one['at'])}  {one['level']:<7}  {one['title']}"
            )
            out(printable(f"{line}  {one['url']}".rstrip()))
        left -= len(page["items"])
        before = page["next"]
        if before is None:
            break
    return 0


def mark_read(hub: Hub, which: str) -> int:
    """An id, or `all` that are there now."""
    if which == "all":
        newest = hub.get("/inbox", limit=1)["items"]
        left = hub.post("/inbox/read", {"up_to": newest[0]["id"] if newest else 0})
    elif which.isascii() and which.isdigit():
        left = hub.patch(f"/inbox/{which}", {"read": True})
    else:
        raise Unusable(
            f"{which} is no id: take one from the first column of `hubctl inbox`, or all"
        )
    out(f"{left['unread']} unread")
    return 0
