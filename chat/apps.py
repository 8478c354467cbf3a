from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ChatConfig(AppConfig):
    name = "chat"
    label = "hub_chat"
    verbose_name = _("Rooms")

    def ready(self) -> None:
        from accounts import audience, profiles  # noqa: PLC0415 - these need models, which are ready only now
        from chat import mentions, rooms  # noqa: PLC0415
        from notifications import inbox, notifying  # noqa: PLC0415

        audience.register("room", rooms.readable, ended=rooms.ended, narrows=rooms.narrows)
        profiles.register_me("rooms", rooms.totals)
        notifying.register(mentions.MENTIONED, mentions.standing)
        inbox.register_title(mentions.MENTIONED, mentions.translated)
