from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any, ClassVar

from django.db import models


class Customer(models.Model):
    name = models.CharField(max_length=50)

    objects: ClassVar[Any] = models.Manager()

    def __str__(self) -> str:
        return self.name


class Tag(models.Model):
    name = models.CharField(max_length=50)

    objects: ClassVar[Any] = models.Manager()

    def __str__(self) -> str:
        return self.name


class OrderQuerySet(models.QuerySet["Order"]):
    def late(self) -> OrderQuerySet:
        return self.filter(state="late")


class OpenOrders(models.Manager["Order"]):
    def get_queryset(self) -> models.QuerySet[Order]:
        return super().get_queryset().exclude(state="done")


class Order(models.Model):
    name = models.CharField(max_length=100, unique=True)
    customer = models.ForeignKey(
        Customer, models.CASCADE, null=True, blank=True, related_name="orders"
    )
    twin = models.ForeignKey("self", models.SET_NULL, null=True, blank=True)
    total = models.DecimalField(max_digits=8, decimal_places=2, default=Decimal(0))
    count = models.IntegerField(default=1)
    state = models.CharField(max_length=10, default="new")
    team = models.IntegerField(null=True)
    due = models.DateField(null=True)
    at = models.DateTimeField(null=True)
    clock = models.TimeField(null=True)
    lasts = models.DurationField(null=True)
    weight = models.FloatField(null=True)
    paid = models.BooleanField(default=False)
    ref = models.UUIDField(default=uuid.uuid4)
    extra = models.JSONField(null=True)
    notes = models.TextField(blank=True)
    scan = models.FileField(blank=True)
    double = models.GeneratedField(
        expression=models.F("count") * 2, output_field=models.IntegerField(), db_persist=True
    )
    blob = models.BinaryField(null=True)
    tags = models.ManyToManyField(Tag)

    objects: ClassVar[Any] = OrderQuerySet.as_manager()
    open_ones: ClassVar[Any] = OpenOrders()

    def __str__(self) -> str:
        return self.name


class BigOrder(Order):
    """The same table under another name."""

    class Meta:
        proxy = True


class RushOrder(Order):
    """A table of its own beside its parent's."""

    courier = models.CharField(max_length=50)

    objects: ClassVar[Any] = models.Manager()


class Abstract(models.Model):
    class Meta:
        abstract = True
