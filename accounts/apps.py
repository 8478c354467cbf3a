from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    name = "accounts"
    label = "hub_accounts"
    verbose_name = _("Accounts")

    def ready(self) -> None:
        from accounts import access, signals  # noqa: PLC0415 - they need models, which are ready only now

        access.connect()
        signals.connect()
