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
    """One immutable fact. Pending (offset NULL) from its commit until the sequencer numbers it.

    `topic` is text without a foreign key: with one, a long transaction that publishes would lock the topic's
    row and hold up everybody else who does.
    """

    topic = models.CharField(max_length=100)
    offset = models.BigIntegerField(null=True)
    type = models.CharField(max_length=100)
    data = models.TextField()
    """JSON, encoded once; what clients get are these very bytes."""
    at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["topic", "offset"], name="hub_event_topic_offset"),
        ]
        indexes = [
            models.Index(
                fields=["topic", "id"],
                name="hub_event_pending",
                condition=models.Q(offset__isnull=True),
            ),
            models.Index(fields=["at"], name="hub_event_at"),
        ]

    def __str__(self) -> str:
        return f"{self.topic}:{self.offset} {self.type}"
