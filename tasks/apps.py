from __future__ import annotations

from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules
from django.utils.translation import gettext_lazy as _


class TasksConfig(AppConfig):
    name = "tasks"
    label = "hub_tasks"
    verbose_name = _("Jobs")

    def ready(self) -> None:
        from accounts import audience  # noqa: PLC0415 - these need models, which are ready only now
        from tasks import jobs, watchdog  # noqa: PLC0415

        audience.register("job", jobs.readable)
        watchdog.install()
        autodiscover_modules("tasks")  # pages and API offer what somebody's own apps track, too
