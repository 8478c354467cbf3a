from __future__ import annotations

from collections.abc import Callable

from django.db import models
from django.utils.translation import gettext_lazy as _


class Order(models.Model):
    class State(models.TextChoices):
        NEW = "new", _("New")
        PAID = "paid", _("Paid")
        SENT = "sent", _("Sent")
        LATE = "late", _("Late")

    customer = models.CharField(_("customer"), max_length=100)
    total = models.DecimalField(_("total"), max_digits=10, decimal_places=2)
    state = models.CharField(_("state"), max_length=10, choices=State, default=State.NEW)

    get_state_display: Callable[[], str]  # Django makes it

    class Meta:
        verbose_name = _("order")
        verbose_name_plural = _("orders")

    def __str__(self) -> str:
        return f"{self.customer}: {self.total} ({self.get_state_display()})"
