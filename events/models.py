from __future__ import annotations

from django.db import models
from django.utils import timezone


class Epoch(models.Model):
    """The identity of the whole log, in the one row with id 1; a restored older database gets a new one."""

    value = models.CharField(max_length=32)

    def __str__(self) -> str:
        return self.value


class Topic(models.Model):
    """Where a topic's offsets stand. Only the sequencer creates rows here and only it moves `head`.

    A row stays when all its events are pruned: with another one offsets would start anew within one epoch.
    """

    name = models.CharField(max_length=100, primary_key=True)
    head = models.BigIntegerField(default=0)
    """The offset given last; 0 when none was."""
    floor = models.BigIntegerField(default=0)
    """The highest offset that retention removed: what is kept starts at `floor + 1`."""

    def __str__(self) -> str:
        return self.name


class Event(models.Model):
    """One fact, which stays as it is but for `events.redact`. Pending (offset NULL) until the sequencer numbers it.

    `topic` is text without a foreign key: with one, a long transaction that publishes would lock the topic's
    row and hold up everybody else who does.
    """

    topic = models.CharField(max_length=100)
    offset = models.BigIntegerField(null=True)
    type = models.CharField(max_length=100)
    data = models.TextField()
    """JSON, encoded once; what clients get are these very bytes."""
    at = models.DateTimeField(default=timezone.now)
    about = models.CharField(max_length=100, null=True)  # noqa: DJ001 - NULL: nobody looks for it
    """What it tells of, such as `message:7`, where its text may have to be taken back. No client sees this."""

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["topic", "offset"], name="hub_event_topic_offset"),
        ]
        indexes = [
            # With `offset`, though it is NULL: without it SQLite goes through all of the log instead, row by row.
            models.Index(
                fields=["topic", "id", "offset"],
                name="hub_event_pending",
                condition=models.Q(offset__isnull=True),
            ),
            models.Index(fields=["at"], name="hub_event_at"),
            models.Index(fields=["topic", "at"], name="hub_event_lately"),
            models.Index(
                fields=["about"],
                name="hub_event_about",
                condition=models.Q(about__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.topic}:{self.offset} {self.type}"
