from __future__ import annotations

from django.contrib import admin

from examples.orders.models import Order


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ["customer", "total", "state"]
    list_editable = ["state"]
    list_filter = ["state"]
    search_fields = ["customer"]
