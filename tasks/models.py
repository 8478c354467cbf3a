from __future__ import annotations

import uuid
from typing import Final

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

TITLE_MAX: Final = 200
NOTE_MAX: Final = 200
SUMMARY_MAX: Final = 2000
FILES_MAX: Final = 10
"""Result files of one attempt. With these bounds the whole job fits one event."""
FILE_NAME_MAX: Final = 100
ERROR_MAX: Final = 4000
"""Characters of an error that are kept: its end, which says what broke."""
EXTERNAL: Final = "external"
"""The kind of a job that is a script outside; every other kind is a Celery task's name."""


class State(models.TextChoices):
    QUEUED = "queued", _("Queued")
    STARTED = "started", _("Running")
    SUCCEEDED = "succeeded", _("Succeeded")
    FAILED = "failed", _("Failed")
    CANCELLED = "cancelled", _("Cancelled")
    LOST = "lost", _("Lost")


LIVE: Final = (State.QUEUED, State.STARTED)
TERMINAL: Final = (State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST)


class Job(models.Model):
    """One tracked run of a Celery task, or of an outside script. Its state is moved by `tasks.jobs` alone."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=200)
    title = models.CharField(max_length=TITLE_MAX)
    """Empty: it is called as its kind is, in everybody's own language (`tasks.titles`)."""
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="hub_jobs"
    )
    attempt = models.PositiveIntegerField(default=1)
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(null=True)
    note = models.CharField(max_length=NOTE_MAX, blank=True)
    summary = models.TextField(blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField()
    queued_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    """Null while the job waits or runs."""
    cancel_requested_at = models.DateTimeField(null=True)
    cancelled_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+"
    )
    by_hand = models.BooleanField(default=False)
    """Started by its owner through the task's form: whoever lost the permission meanwhile runs nothing."""

    message = models.TextField(blank=True)
    """What Celery is to be sent: `{args, kwargs, options}` in kombu's JSON; empty for an outside script."""
    queue = models.CharField(max_length=100, blank=True)
    due_at = models.DateTimeField(null=True)
    """A queued job is not sent before this."""
    sent_at = models.DateTimeField(null=True)
    """When a message for the present attempt last went to the broker."""
    lease = models.PositiveIntegerField(default=0)
    """Seconds of silence after which a started job counts as lost."""
    lease_until = models.DateTimeField(null=True)
    """Null unless the job runs."""
    log_lines = models.PositiveIntegerField(default=0)
    log_size = models.PositiveIntegerField(default=0)

    class Meta:
        ordering = ("-created_at", "-id")
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="hub_job_newest"),
            models.Index(fields=["owner", "-created_at", "-id"], name="hub_job_of_owner"),
            # What waits or runs is few among many. SQLite takes a partial index only where a query repeats its
            # condition without a parameter: so these are conditions on NULL.
            models.Index(
                fields=["-created_at", "-id"],
                condition=Q(finished_at__isnull=True),
                name="hub_job_live",
            ),
            models.Index(
                fields=["owner", "-created_at", "-id"],
                condition=Q(finished_at__isnull=True),
                name="hub_job_live_of_owner",
            ),
            models.Index(
                fields=["lease_until"],
                condition=Q(lease_until__isnull=False),
                name="hub_job_leased",
            ),
            models.Index(fields=["started_at"], name="hub_job_started"),
            models.Index(
                fields=["finished_at"],
                condition=Q(finished_at__isnull=False),
                name="hub_job_finished",
            ),
        ]

    def __str__(self) -> str:
        return self.title or self.kind


class Attempt(models.Model):
    """One try at a job that has ended, or is under way; the job's own columns are those of the newest."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.QUEUED)
    queued_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True, db_index=True)
    done = models.BigIntegerField(default=0)
    total = models.BigIntegerField(null=True)
    summary = models.TextField(blank=True)
    error = models.TextField(blank=True)

    class Meta:
        ordering = ("-number",)
        constraints = [
            models.UniqueConstraint(fields=["job", "number"], name="hub_attempt_of_job"),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} #{self.number}"


class LogChunk(models.Model):
    """Some lines of a job's log, joined by line feeds: `first` to `first + lines - 1`."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="+")
    attempt = models.PositiveIntegerField()
    first = models.PositiveIntegerField()
    lines = models.PositiveIntegerField()
    text = models.TextField()
    at = models.DateTimeField()

    class Meta:
        ordering = ("first",)
        constraints = [
            models.UniqueConstraint(fields=["job", "first"], name="hub_log_chunk_place"),
        ]

    def __str__(self) -> str:
        return f"{self.job_id} from line {self.first}"


class File(models.Model):
    """What a job was given, or made. The bytes lie in the database: every machine of the hub reads them there."""

    class Role(models.TextChoices):
        UPLOAD = "upload", _("Upload")
        RESULT = "result", _("Result")

    job = models.ForeignKey(Job, on_delete=models.CASCADE, null=True, related_name="files")
    role = models.CharField(max_length=10, choices=Role.choices)
    attempt = models.PositiveIntegerField(default=1)
    name = models.CharField(max_length=FILE_NAME_MAX)
    type = models.CharField(max_length=100)
    size = models.BigIntegerField(default=0)
    created_at = models.DateTimeField()
    complete_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return self.name


class FileChunk(models.Model):
    file = models.ForeignKey(File, on_delete=models.CASCADE, related_name="chunks")
    place = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["file", "place"], name="hub_file_chunk_place"),
        ]

    def __str__(self) -> str:
        return f"{self.file_id} {self.place}"


class Outage(models.Model):
    """A time during which jobs waited and no worker took any; at most one is open."""

    began_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    is_open = models.BooleanField(default=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["is_open"], condition=Q(is_open=True), name="hub_one_open_outage"
            ),
        ]

    def __str__(self) -> str:
        return f"since {self.began_at:%Y-%m-%d %H:%M}"
