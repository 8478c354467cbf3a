"""Announcements, and everybody's own notifications, to take away."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import Final, TypeVar

from celery import shared_task
from django.contrib.auth.models import User
from django.db.models import Model, QuerySet
from django.utils.formats import number_format
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts import profiles
from accounts.audience import is_staff_of_hub
from notifications import announcements, inbox
from notifications.models import Announcement, Notification
from tasks import running, tables
from tasks.errors import Failed
from tasks.forms import ExportForm
from tasks.tables import Format
from tasks.tracking import tracked

M = TypeVar("M", bound=Model)

ANNOUNCEMENT: Final = ("id", "title", "body", "level", "team", "author", "at", "edited_at")
NOTIFICATION: Final = ("id", "kind", "title", "body", "url", "level", "actor", "read", "at")


@tracked(
    title=_("Export announcements"),
    description=_("What is addressed to everybody and to your teams, as CSV or JSON lines."),
    form=ExportForm,
    permission=is_staff_of_hub,
)
@shared_task(name="announcements.export")
def export_announcements(format: str = Format.CSV, since: str | None = None) -> str:
    """What the owner may read when the job runs: teams left since it was started are none of theirs."""
    owner = owner_of_run()
    rows = announcements.addressed_to(owner)
    if owner.is_superuser:
        rows = Announcement.objects.all()
    rows = since_day(rows.select_related("team"), since, owner)
    pages = tables.pages(rows, announcements.items)
    count = tables.write("announcements", format, ANNOUNCEMENT, pages, rows.count())
    said = ngettext("%(count)s announcement", "%(count)s announcements", count)
    return said % {"count": number_format(count, force_grouping=True)}


@tracked(
    title=_("Export my notifications"),
    description=_("Your own inbox, as CSV or JSON lines."),
    form=ExportForm,
    permission=is_staff_of_hub,
)
@shared_task(name="notifications.export")
def export_notifications(format: str = Format.CSV, since: str | None = None) -> str:
    owner = owner_of_run()
    rows = since_day(Notification.objects.filter(recipient=owner), since, owner)
    count = tables.write(
        "notifications", format, NOTIFICATION, tables.pages(rows, inbox.items), rows.count()
    )
    said = ngettext("%(count)s notification", "%(count)s notifications", count)
    return said % {"count": number_format(count, force_grouping=True)}


def owner_of_run() -> User:
    """Whose rights count. Raises Failed for a run that is nobody's."""
    job = running.current()
    if job is None or job.owner is None:
        raise Failed("An export is somebody's: start it with `owner`.")
    return job.owner


def since_day(rows: QuerySet[M], day: str | None, owner: User) -> QuerySet[M]:
    """From the beginning of that day on the owner's clock."""
    if not day:
        return rows
    midnight = datetime.combine(date.fromisoformat(day), time(), profiles.zone(owner))
    return rows.filter(created_at__gte=midnight)
