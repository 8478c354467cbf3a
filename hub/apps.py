from __future__ import annotations

from django.apps import AppConfig


class HubConfig(AppConfig):
    name = "hub"
    label = "hub"

    def ready(self) -> None:
        from hub import checks  # noqa: F401, PLC0415 - registers them
