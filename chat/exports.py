"""A room's history, to take away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from celery import shared_task
from django import forms
from django.contrib.auth.models import User
from django.utils.formats import number_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from accounts.audience import is_staff_of_hub
from chat import messages, names, rooms
from chat.errors import NoSuchRoom
from chat.models import Message
from tasks import tables
from tasks.errors import Failed
from tasks.exports import owner_of_run, since_day
from tasks.forms import ExportForm
from tasks.tables import Format
from tasks.tracking import tracked

COLUMNS: Final = ("id", "at", "author", "body", "edited_at", "deleted")


class RoomExportForm(ExportForm):
    room = forms.TypedChoiceField(label=_("Room"), coerce=int)
    field_order = ("room", "format", "since")

    def __init__(self, *args: Any, user: User, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        called = names.of(rooms.readable_by(user), user)
        by_name = sorted(called.items(), key=lambda one: one[1].casefold())
        self.fields["room"].choices = [("", gettext("Choose a room")), *by_name]  # type: ignore[attr-defined]


@tracked(
    title=_("Export a room"),
    description=_("Everything that was said in one of your rooms, as CSV or JSON lines."),
    form=RoomExportForm,
    permission=is_staff_of_hub,
    private=True,
)
@shared_task(name="rooms.export")
def export_room(room: int, format: str = Format.CSV, since: str | None = None) -> str:
    """What its owner may read while the job runs: who is removed from the room meanwhile gets nothing."""
    owner = owner_of_run()
    _check(owner, room)

    def items(page: Sequence[Message]) -> list[dict[str, Any]]:
        _check(owner, room)
        return [{name: item[name] for name in COLUMNS} for item in messages.items(page)]

    rows = since_day(Message.objects.filter(room=room), since, owner)
    pages = tables.pages(rows, items)
    count = tables.write(f"room-{room}", format, COLUMNS, pages, rows.count())
    said = ngettext("%(count)s message", "%(count)s messages", count)
    return said % {"count": number_format(count, force_grouping=True)}


def _check(owner: User, room: int) -> None:
    try:
        rooms.find(owner, room)
    except NoSuchRoom:
        raise Failed(gettext("There is no such room, or you may not read it any more.")) from None
