"""Say of older events which message they tell of, and take out of them what has been deleted.

The log said nothing of that at first. So a message that was deleted then, or one said then and deleted since, kept its
text in the log and in what those it named were told.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final

import orjson
from django.apps.registry import Apps
from django.db import migrations, transaction
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import QuerySet

BITE: Final = 200
"""Rows in one short transaction: what a kill interrupts goes on the next time."""
_KEY: Final = "mention:"


def take_back(apps: Apps, editor: BaseDatabaseSchemaEditor) -> None:
    _from_rooms(apps)
    _from_inboxes(apps)
    _from_rows(apps)


def _from_rooms(apps: Apps) -> None:
    rows = apps.get_model("hub_events", "Event").objects.filter(
        about=None, topic__startswith="room.", type__in=["message.created", "message.updated"]
    )
    for bite in _bites(rows):
        said = {event.pk: orjson.loads(event.data) for event in bite}
        gone = _gone(apps, (data["id"] for data in said.values()))
        for event in bite:
            data = said[event.pk]
            event.about = f"message:{data['id']}"
            if data["id"] in gone:
                event.data = _encoded({**data, "body": "", "html": ""})
        rows.model.objects.bulk_update(bite, ["about", "data"], batch_size=50)


def _from_inboxes(apps: Apps) -> None:
    rows = apps.get_model("hub_events", "Event").objects.filter(
        about=None, topic__startswith="user.", type="notification.created"
    )
    notifications = apps.get_model("hub_notifications", "Notification").objects
    for bite in _bites(rows):
        said = {event.pk: orjson.loads(event.data) for event in bite}
        shown = {data["id"] for data in said.values() if data["kind"] == "room.mention"}
        keys = notifications.filter(pk__in=shown).values_list("pk", "key")
        named = {pk: _message_of(key) for pk, key in keys}
        gone = _gone(apps, named.values())
        stands = {pk for pk, message in named.items() if message not in gone}
        for event in bite:
            data = said[event.pk]
            event.about = f"notification:{data['id']}"
            if data["id"] in shown - stands:
                event.data = _encoded({**data, "body": ""})
        rows.model.objects.bulk_update(bite, ["about", "data"], batch_size=50)


def _from_rows(apps: Apps) -> None:
    """They stay, for the count of what is unread, and quote nothing."""
    rows = apps.get_model("hub_notifications", "Notification").objects.filter(
        kind="room.mention", key__startswith=_KEY
    )
    for bite in _bites(rows.exclude(body="")):
        named = {row.pk: _message_of(row.key) for row in bite}
        gone = _gone(apps, named.values())
        rows.filter(pk__in=[pk for pk, message in named.items() if message in gone]).update(body="")


def _bites(rows: QuerySet[Any]) -> Iterator[list[Any]]:
    last = 0
    while True:
        with transaction.atomic():
            bite = list(rows.filter(pk__gt=last).order_by("pk")[:BITE])
            if not bite:
                return
            yield bite
        last = bite[-1].pk


def _message_of(key: str | None) -> int | None:
    """None where it is none of a mention's."""
    number = (key or "").removeprefix(_KEY)
    return int(number) if number.isdecimal() and len(number) < 19 else None


def _gone(apps: Apps, ids: Iterable[int | None]) -> set[int]:
    """Those that were deleted, alone or with their room."""
    asked = {pk for pk in ids if pk is not None}
    messages = apps.get_model("hub_chat", "Message").objects
    kept = messages.filter(pk__in=asked, deleted_at=None).values_list("pk", flat=True)
    return asked.difference(kept)


def _encoded(data: dict[str, Any]) -> str:
    return orjson.dumps(data).decode()


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("hub_chat", "0004_active"),
        ("hub_events", "0002_about"),
        ("hub_notifications", "0002_letter"),
    ]

    operations = [migrations.RunPython(take_back, migrations.RunPython.noop)]
