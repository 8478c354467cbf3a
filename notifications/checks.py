"""What is wrong with a `watch(...)` is said at start, by Django's system checks, not when somebody saves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.db import DEFAULT_DB_ALIAS, router

from accounts.api import OWN_PREFIXES
from events import topics
from events.publishing import TYPE
from notifications import model_events, model_fields
from notifications.model_events import Watch
from notifications.models import Announcement

_TYPE_MAX = 100 - len(".created")


def check_watches(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[checks.CheckMessage]:
    labels = None if app_configs is None else {each.label for each in app_configs}
    return [
        problem
        for each in model_events.every()
        if labels is None or each.model._meta.app_label in labels
        for problem in (*_place(each), *_fields(each), *_names(each))
    ]


def _place(each: Watch[Any]) -> Iterator[checks.CheckMessage]:
    label = each.model._meta.label
    using = router.db_for_write(each.model)
    if using != DEFAULT_DB_ALIAS:
        yield checks.Error(
            f"watch({label}): its rows are written in the database {using!r}, the log is in {DEFAULT_DB_ALIAS!r}.",
            hint="Only what is in one database is committed together: publish() what matters of it yourself.",
            obj=each.model,
            id="hub_notifications.E005",
        )
    for field in each.model._meta.pk_fields:
        if not model_fields.is_encodable(field):
            yield checks.Warning(
                f"watch({label}): its key, a {type(field).__name__}, is told as the text that str() makes of it.",
                hint="Derive the field from the one it is stored as, such as CharField.",
                obj=each.model,
                id="hub_notifications.W002",
            )


def _fields(each: Watch[Any]) -> Iterator[checks.CheckMessage]:
    label = each.model._meta.label
    for name in each.fields:
        field = model_fields.find(each.model, name)
        if field is None:
            yield checks.Error(
                f"watch({label}) lists {name!r}, which is no column of it.",
                hint="List names of fields; a relation to many has no column.",
                obj=each.model,
                id="hub_notifications.E001",
            )
        elif not model_fields.is_encodable(field):
            yield checks.Error(
                f"watch({label}) lists {name!r}; a {type(field).__name__} can't be written as JSON.",
                hint="Leave it out, or say what matters of it in the title.",
                obj=each.model,
                id="hub_notifications.E002",
            )


def _names(each: Watch[Any]) -> Iterator[checks.CheckMessage]:
    label = each.model._meta.label
    if len(each.type) > _TYPE_MAX or TYPE.fullmatch(f"{each.type}.created") is None:
        yield checks.Error(
            f"watch({label}) would publish events of the type {each.type!r}.created.",
            hint="Give watch() a type=: lower-case words joined by dots, such as 'orders.order'.",
            obj=each.model,
            id="hub_notifications.E003",
        )
    elif each.type.partition(".")[0] in OWN_PREFIXES and each.model is not Announcement:
        yield checks.Error(
            f"watch({label}) would publish events of the type {each.type!r}.created; the hub's own begin so.",
            hint="Give watch() a type= with another first word, such as 'shop.message'.",
            obj=each.model,
            id="hub_notifications.E006",
        )
    if not isinstance(each.topic, str):
        return
    parsed = topics.parse(each.topic)
    if parsed is None:
        yield checks.Error(
            f"watch({label}) publishes to {each.topic!r}, which is no topic.",
            hint="Use a name such as group.dashboard, or a function of the row.",
            obj=each.model,
            id="hub_notifications.E004",
        )
    elif parsed.kind == "group" and parsed.name not in topics.groups():
        yield checks.Warning(
            f"watch({label}) publishes to {each.topic!r}, which nobody can read.",
            hint=f"Add {parsed.key} to HUB_GROUPS.",
            obj=each.model,
            id="hub_notifications.W001",
        )
