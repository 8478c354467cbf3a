from __future__ import annotations

from django.apps import AppConfig


class ShopConfig(AppConfig):
    default = True
    name = "tests.shop"
    label = "shop"


class WatchedShop(ShopConfig):
    """`HUB_APPS=tests.shop.apps.WatchedShop`: what happens to an order is told, with what and which one as its mark."""

    default = False

    def ready(self) -> None:
        from notifications import watch
        from tests.shop.models import Order

        watch(Order, data=lambda order, change: {"mark": f"{order.name} {change}"})
