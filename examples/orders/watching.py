"""What the hub tells about orders: everybody sees them on the dashboard, the order desk hears of new ones."""

from __future__ import annotations

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.db.models import QuerySet
from django.urls import reverse

from examples.orders.models import Order
from notifications import watch


def watch_orders() -> None:
    watch(
        Order,
        topic="group.dashboard",
        fields=["customer", "total", "state"],
        title=title,
        url=url,
        notify=order_desk,
    )


def title(order: Order) -> str:
    return f"Order {order.pk}, {order.customer}: {order.get_state_display()}"


def url(order: Order) -> str:
    return reverse("admin:orders_order_change", args=[order.pk])


def order_desk(order: Order, change: str) -> QuerySet[User] | None:
    """Whoever may change orders gets a notification of each new one."""
    if change != "created":
        return None
    people = get_user_model().objects
    return people.with_perm(
        "orders.change_order", backend="django.contrib.auth.backends.ModelBackend"
    )
