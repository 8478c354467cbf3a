"""What whole querysets do to watched models: Django fires no `post_save` for `bulk_create` and `update`.

The methods are wrapped once on `QuerySet` itself, deletions on the `Collector` where those of rows and of querysets meet. That reaches every way there: all managers, `_base_manager`, related managers,
querysets of a project's own, `bulk_update` and the asynchronous twins, which all end here. A mixin put on each manager
would have to replace classes that migrations and pickles refer to by name. Models that nobody watches pay one look-up.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from django.db import connections, transaction
from django.db.models import Max, Model, Q, QuerySet
from django.db.models.deletion import Collector

from notifications import model_events

_ROWS_AT_ONCE: Final = 1000
_ROWS_PER_CONDITION: Final = 200  # SQLite takes expressions 1,000 deep

Method = Callable[..., Any]
Changes = Iterator[tuple[Any, model_events.Change, Model | None]]


def install() -> None:
    """Wrap the three methods; further calls change nothing."""
    for owner, name, wrap in (
        (QuerySet, "bulk_create", _bulk_create),
        (QuerySet, "update", _update),
        (Collector, "delete", _delete),
    ):
        original = getattr(owner, name)
        if not hasattr(original, "of_django"):
            wrapped = wrap(original)
            vars(wrapped)["of_django"] = original
            setattr(owner, name, wrapped)


def _update(original: Method) -> Method:
    @functools.wraps(original)
    def update(self: QuerySet[Any], **values: Any) -> int:
        watches = model_events.watches_of(self.model)
        if not watches or self.query.is_sliced or self.query.combinator:
            return int(original(self, **values))  # what can't be updated is refused there
        using = _for_writing(self)
        with transaction.atomic(using=using):
            keys = _locked(self)
            before: dict[Any, Model] = {}
            if model_events.has_moving_topic(self.model):
                before = {row.pk: row for row in model_events.rows(self.model, using, keys)}
            exactly_these = self.filter(pk__in=keys) if _can_lock(self) else self
            count = int(original(exactly_these, **values))
            self._result_cache = None
            outbox = model_events.Outbox()
            for row in model_events.rows(self.model, using, keys):
                outbox.add(watches, row, "updated", before.get(row.pk))
            outbox.send()
        return count

    return update


def _for_writing(chosen: QuerySet[Any]) -> str:
    """From here on the queryset reads where it writes; that database's alias, which must be the log's."""
    vars(chosen)["_for_write"] = True
    model_events.require_database_of_log(chosen.model, chosen.db)
    return chosen.db


def _locked(chosen: QuerySet[Any]) -> list[Any]:
    """Keys of the rows that `update` will change, so that just those are told of.

    Where rows can be locked they are, and asked again once locked: a row that changed while we waited may no longer be meant.
    SQLite has one writer at a time.
    """
    unordered = chosen.order_by()
    if _can_lock(chosen):
        rows: QuerySet[Any] = QuerySet(chosen.model, using=chosen.db).select_for_update(no_key=True)
        held = rows.filter(pk__in=unordered.values("pk")).order_by("pk")
        unordered = unordered.filter(pk__in=list(held.values_list("pk", flat=True)))
    return list(dict.fromkeys(unordered.values_list("pk", flat=True)))


def _can_lock(chosen: QuerySet[Any]) -> bool:
    return connections[chosen.db].features.has_select_for_update


def _delete(original: Method) -> Method:
    @functools.wraps(original)
    def delete(self: Collector) -> Any:
        watched = [model for model in self.data if model_events.watches_of(model)]
        if not watched:
            return original(self)
        for model in watched:
            model_events.require_database_of_log(model, self.using)
        with transaction.atomic(using=self.using), model_events.deleting(self.data, self.using):
            return original(self)

    return delete


def _bulk_create(original: Method) -> Method:
    @functools.wraps(original)
    def bulk_create(
        self: QuerySet[Any],
        objs: Iterable[Any],
        batch_size: int | None = None,
        ignore_conflicts: bool = False,
        update_conflicts: bool = False,
        update_fields: Any = None,
        unique_fields: Any = None,
    ) -> Any:
        insert = functools.partial(
            original,
            self,
            batch_size=batch_size,
            ignore_conflicts=ignore_conflicts,
            update_conflicts=update_conflicts,
            update_fields=update_fields,
            unique_fields=unique_fields,
        )
        watches = model_events.watches_of(self.model)
        if not watches:
            return insert(objs)
        using = _for_writing(self)
        made = list(objs)
        with transaction.atomic(using=using):
            if ignore_conflicts or update_conflicts:
                unique = list(unique_fields or ()) if update_conflicts else None
                changes: Changes = _tolerantly(self, made, insert, unique)
            else:
                insert(made)
                changes = ((row, "created", None) for row in _settled(self, made))
            outbox = model_events.Outbox()
            for row, change, before in changes:
                outbox.add(watches, row, change, before)
            outbox.send()
        return made

    return bulk_create


def _settled(chosen: QuerySet[Any], made: list[Any]) -> Iterator[Any]:
    for start in range(0, len(made), _ROWS_AT_ONCE):
        yield from model_events.settled(made[start : start + _ROWS_AT_ONCE], chosen.db)


def _tolerantly(
    chosen: QuerySet[Any], made: list[Any], insert: Method, unique: list[str] | None
) -> Changes:
    """An insert that skips rows in conflict, or updates them by these unique fields, does not say which it made: compare.

    A row that somebody else inserts at that very moment may be told of twice; readers take `created` of a row they know
    as its newest state.
    """
    everything: QuerySet[Any] = QuerySet(chosen.model, using=chosen.db)
    before = {} if unique is None else _in_conflict(chosen, made, unique)
    given = {one.pk for one in made if one.pk is not None}
    there = set(_stored(chosen, given))
    is_numbered_here = any(one.pk is None for one in made)
    last = everything.aggregate(last=Max("pk"))["last"] if is_numbered_here else None
    insert(made)
    added = set(_stored(chosen, given - there))
    if is_numbered_here:
        newer = everything if last is None else everything.filter(pk__gt=last)
        added.update(newer.values_list("pk", flat=True))
    updated: set[Any] = set()
    if unique is not None:
        updated = (before.keys() | {one.pk for one in made if one.pk is not None}) - added
    for row in model_events.rows(chosen.model, chosen.db, sorted(added)):
        yield row, "created", None
    for row in model_events.rows(chosen.model, chosen.db, sorted(updated)):
        yield row, "updated", before.get(row.pk)


def _stored(chosen: QuerySet[Any], keys: set[Any]) -> Iterator[Any]:
    """Those of the keys that have a row."""
    everything: QuerySet[Any] = QuerySet(chosen.model, using=chosen.db)
    wanted = list(keys)
    for start in range(0, len(wanted), _ROWS_AT_ONCE):
        chunk = wanted[start : start + _ROWS_AT_ONCE]
        yield from everything.filter(pk__in=chunk).values_list("pk", flat=True)


def _in_conflict(chosen: QuerySet[Any], made: list[Any], unique: list[str]) -> dict[Any, Model]:
    """The rows that these would update, as they are stored now and held until the transaction ends."""
    options = chosen.model._meta
    columns: list[Any] = [
        options.pk if name == "pk" else options.get_field(name) for name in unique
    ]
    found: dict[Any, Model] = {}
    for start in range(0, len(made), _ROWS_PER_CONDITION):
        same = Q()
        for one in made[start : start + _ROWS_PER_CONDITION]:
            values = {column.attname: getattr(one, column.attname) for column in columns}
            if None not in values.values():  # NULL is like nothing else
                same |= Q(**values)
        if same:
            rows: QuerySet[Any] = QuerySet(chosen.model, using=chosen.db)
            held = rows.select_for_update(no_key=True).filter(same).order_by("pk")
            found.update({row.pk: row for row in held})
    return found
