"""Taking a text back out of the log. Nothing else ever changes there."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import orjson
from django.db import transaction

from events import topics
from events.models import Event, Topic
from events.publishing import encode, publish_many

TYPE: Final = "hub.redacted"
"""On `topics.ACCESS`, for the server processes: forget what you keep of these topics."""
_ROWS_PER_UPDATE: Final = 50
_TOPICS_PER_EVENT: Final = 300
"""Names of 100 characters at most, which stay below the size limit."""


def redact(about: Collection[str], fields: Collection[str]) -> int:
    """Empty these text fields in the data of every event that was published `about` one of these.

    For what somebody deleted: whoever reads the log from then on learns that something was said, and no longer what.
    Offsets, types, times and the other fields stay. Part of the caller's transaction; the events are found by an index,
    however long the log is. Returns how many changed.
    """
    with transaction.atomic():
        found = Event.objects.filter(about__in=about)
        names = sorted(set(found.order_by().values_list("topic", flat=True)))
        # The sequencer holds a topic while it numbers events of it: each could wait for a row that the other has.
        list(Topic.objects.select_for_update().filter(name__in=names).order_by("name"))
        changed = []
        for event in found.order_by("pk"):
            data = orjson.loads(event.data)
            emptied = {**data, **{field: "" for field in fields if field in data}}
            if emptied != data:
                event.data = encode(emptied)
                changed.append(event)
        Event.objects.bulk_update(changed, ["data"], batch_size=_ROWS_PER_UPDATE)
        if changed:
            publish_many(
                (topics.ACCESS, TYPE, {"redacted": names[start : start + _TOPICS_PER_EVENT]})
                for start in range(0, len(names), _TOPICS_PER_EVENT)
            )
    return len(changed)
