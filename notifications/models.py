from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

TITLE_MAX: Final = 200  # characters; a title is one line
BODY_MAX: Final = 6000  # characters; with everything around it the event still fits 32 KiB
URL_MAX: Final = 1000
KIND_MAX: Final = 100
KEY_MAX: Final = 200


class Level(models.TextChoices):
    INFO = "info", _("Info")
    SUCCESS = "success", _("Success")
    WARNING = "warning", _("Warning")
    ERROR = "error", _("Error")


class Inbox(models.Model):
    """One row per person who was ever notified: the kept unread count.

    Whatever changes somebody's notifications locks this row first. So a person's notifications get their ids in
    the order in which they are committed, and the `unread` of their events never runs backwards.
    """

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, models.CASCADE, primary_key=True, related_name="+"
    )
    unread = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name_plural = "inboxes"

    def __str__(self) -> str:
        return f"{self.user_id}: {self.unread} unread"


class Letter(models.Model):
    """What somebody's transaction wants to tell, until it has committed and the inboxes have it.

    It holds ids without foreign keys, so that writing it locks nobody's row: a transaction may be long.
    """

    people = models.JSONField()
    """Ids of users, ascending, not empty."""
    kind = models.CharField(max_length=KIND_MAX)
    title = models.CharField(max_length=TITLE_MAX)
    body = models.TextField(blank=True)
    url = models.CharField(max_length=URL_MAX, blank=True)
    level = models.CharField(max_length=10, choices=Level.choices)
    actor_id = models.BigIntegerField(null=True, blank=True)
    key = models.CharField(max_length=KEY_MAX, null=True, blank=True)  # noqa: DJ001 - as a notification's
    at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(
                fields=["key"],
                name="hub_letter_key",
                condition=models.Q(key__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return self.title


class Notification(models.Model):
    """One row in one person's inbox. Only `notifications.notify` makes these."""

    recipient = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="+", db_index=False
    )
    kind = models.CharField(max_length=KIND_MAX)
    title = models.CharField(max_length=TITLE_MAX)
    body = models.TextField(blank=True)
    url = models.CharField(max_length=URL_MAX, blank=True)
    level = models.CharField(max_length=10, choices=Level.choices, default=Level.INFO)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    key = models.CharField(max_length=KEY_MAX, null=True, blank=True)  # noqa: DJ001 - NULL: many without a key
    """Makes it idempotent: one person never has two with the same key."""
    read_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["recipient", "key"],
                name="hub_notification_once",
                condition=models.Q(key__isnull=False),
            ),
        ]
        indexes = [
            models.Index(fields=["recipient", "-id"], name="hub_notification_inbox"),
            models.Index(
                fields=["recipient", "-id"],
                name="hub_notification_unread",
                condition=models.Q(read_at__isnull=True),
            ),
            models.Index(fields=["created_at"], name="hub_notification_age"),
        ]

    def __str__(self) -> str:
        return self.title


class Announcement(models.Model):
    """A notice to everybody, or to one team."""

    title = models.CharField(_("title"), max_length=TITLE_MAX)
    body = models.TextField(_("text"), max_length=BODY_MAX, blank=True)
    level = models.CharField(_("level"), max_length=10, choices=Level.choices, default=Level.INFO)
    team = models.ForeignKey(
        "auth.Group",
        models.CASCADE,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("team"),
        help_text=_("Empty: everybody."),
    )
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    edited_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        verbose_name = _("announcement")
        verbose_name_plural = _("announcements")
        ordering = ["-id"]
        permissions = [("announce", _("Can announce, and notify teams and everyone"))]

    def __str__(self) -> str:
        return self.title
