from __future__ import annotations

from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _


class NotificationsConfig(AppConfig):
    name = "notifications"
    label = "hub_notifications"
    verbose_name = _("Notifications")

    def ready(self) -> None:
        from accounts import profiles  # noqa: PLC0415 - these need models, which are ready only now
        from notifications import announcements, inbox, querysets  # noqa: PLC0415
        from notifications.checks import check_watches  # noqa: PLC0415

        querysets.install()
        announcements.watch_them()
        profiles.register_me("unread", inbox.unread)
        checks.register(check_watches)
