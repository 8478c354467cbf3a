from __future__ import annotations

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    name = "examples.orders"
    label = "orders"

    def ready(self) -> None:
        from examples.orders.watching import watch_orders  # noqa: PLC0415 - models are ready only now

        watch_orders()
