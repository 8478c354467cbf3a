from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

NAME_MAX: Final = 80
TOPIC_LINE_MAX: Final = 200
BODY_MAX: Final = 4000
"""Characters of a message; what it becomes as HTML has to fit one event beside it."""


class Kind(models.TextChoices):
    OPEN = "open", pgettext_lazy("room", "Open")
    CLOSED = "closed", pgettext_lazy("room", "Closed")
    DIRECT = "direct", _("Direct")


class Involvement(models.TextChoices):
    """What of a room somebody is told about."""

    EVERYTHING = "everything", _("Everything")
    MENTIONS = "mentions", _("Mentions")
    NOTHING = "nothing", _("Nothing")


class Room(models.Model):
    """Whoever changes a room, or posts there, holds this row: messages get their ids in the order of their commits."""

    kind = models.CharField(_("kind"), max_length=10, choices=Kind.choices)
    name = models.CharField(_("name"), max_length=NAME_MAX, blank=True)
    """Empty for a direct room, which is called after its people."""
    topic_line = models.CharField(_("topic"), max_length=TOPIC_LINE_MAX, blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    people_key = models.CharField(max_length=64, null=True, unique=True, editable=False)  # noqa: DJ001 - NULL: not direct
    """Of a direct room: the SHA-256 of its people's ids. One set of people has one room."""
    last_message = models.BigIntegerField(default=0, editable=False)
    """The id of the newest one; 0 before the first."""
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    active_at = models.DateTimeField(default=timezone.now, editable=False)
    """When the newest message was posted; before the first, when the room was made. Lists go by it."""
    archived_at = models.DateTimeField(null=True, editable=False)
    deleted_at = models.DateTimeField(null=True, editable=False)
    """From then on it is nobody's; an hour later beat takes its rows away in short transactions."""

    class Meta:
        verbose_name = _("room")
        verbose_name_plural = _("rooms")
        indexes = [
            models.Index(
                fields=["kind", "-active_at", "-id"],
                name="hub_room_active",
                condition=models.Q(deleted_at__isnull=True),
            ),
            models.Index(
                fields=["deleted_at"],
                name="hub_room_deleted",
                condition=models.Q(deleted_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.name or f"#{self.pk}"


class Membership(models.Model):
    room = models.ForeignKey(Room, models.CASCADE, related_name="memberships", db_index=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="hub_memberships"
    )
    involvement = models.CharField(
        max_length=10, choices=Involvement.choices, default=Involvement.MENTIONS
    )
    read_up_to = models.BigIntegerField(default=0)
    """The id of the last message read. Only `chat.marks` moves it, and only forward."""
    joined_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["room", "user"], name="hub_membership_once"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.room_id}"


class Message(models.Model):
    room = models.ForeignKey(Room, models.CASCADE, related_name="+", db_index=False)
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", db_index=False
    )
    client_id = models.UUIDField()
    body = models.TextField()
    """As it was typed; empty once deleted."""
    html = models.TextField()
    """What `chat.text` makes of it, safe to show."""
    created_at = models.DateTimeField(default=timezone.now)
    edited_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["author", "room", "client_id"], name="hub_message_once"
            ),
        ]
        indexes = [
            models.Index(fields=["room", "-id"], name="hub_message_newest"),
            # All that counting what is unread asks for. SQLite asks for `deleted_at`, too, whatever the condition says.
            models.Index(
                fields=["room", "id", "author", "deleted_at"],
                name="hub_message_counted",
                condition=models.Q(deleted_at__isnull=True),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.pk} in {self.room_id}"


class Mention(models.Model):
    """Somebody who may read the room is named in a message."""

    message = models.ForeignKey(Message, models.CASCADE, related_name="mentions", db_index=False)
    room = models.ForeignKey(Room, models.CASCADE, related_name="+", db_index=False)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["message", "user"], name="hub_mention_once"),
        ]
        indexes = [
            models.Index(fields=["user", "room", "message"], name="hub_mention_of_person"),
            models.Index(fields=["room"], name="hub_mention_room"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.message_id}"
