"""What whole querysets do to watched models: Django fires no `post_save` for `bulk_create` and `update`.

The methods are wrapped once on `QuerySet` itself. That reaches every way there: all managers, `_base_manager`, related managers,
querysets of a project's own, `bulk_update` and the asynchronous twins, which all end here. A mixin put on each manager
would have to replace classes that migrations and pickles refer to by name. Models that nobody watches pay one look-up.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from django.db import connections, transaction
from django.db.models import Max, Model, QuerySet

from notifications import model_events

_ROWS_AT_ONCE: Final = 1000

Method = Callable[..., Any]
Changes = Iterator[tuple[Any, model_events.Change]]


def install() -> None:
    """Wrap the three methods; further calls change nothing."""
    for name, wrap in (("bulk_create", _bulk_create), ("update", _update), ("delete", _delete)):
        original = getattr(QuerySet, name)
        if not hasattr(original, "of_django"):
            wrapped = wrap(original)
            vars(wrapped)["of_django"] = original
            setattr(QuerySet, name, wrapped)


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
    """From here on the queryset reads where it writes; that database's alias."""
    vars(chosen)["_for_write"] = True
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
    def delete(self: QuerySet[Any]) -> Any:
        if not model_events.watches_of(self.model):
            return original(self)
        using = _for_writing(self)
        with transaction.atomic(using=using), model_events.gathering_deletions(using):
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
                changes: Changes = _tolerantly(self, made, insert, update_conflicts)
            else:
                insert(made)
                changes = ((row, "created") for row in _settled(self, made))
            outbox = model_events.Outbox()
            for row, change in changes:
                outbox.add(watches, row, change)
            outbox.send()
        return made

    return bulk_create


def _settled(chosen: QuerySet[Any], made: list[Any]) -> Iterator[Any]:
    for start in range(0, len(made), _ROWS_AT_ONCE):
        yield from model_events.settled(made[start : start + _ROWS_AT_ONCE], chosen.db)


def _tolerantly(chosen: QuerySet[Any], made: list[Any], insert: Method, updating: bool) -> Changes:
    """An insert that skips or updates rows in conflict does not say which it made: compare with before.

    A row that somebody else inserts at that very moment may be told of twice; readers take `created` of a row they know
    as its newest state.
    """
    everything: QuerySet[Any] = QuerySet(chosen.model, using=chosen.db)
    given = {one.pk for one in made if one.pk is not None}
    there = set(everything.filter(pk__in=given).values_list("pk", flat=True))
    is_numbered_here = any(one.pk is None for one in made)
    last = everything.aggregate(last=Max("pk"))["last"] if is_numbered_here else None
    insert(made)
    added = set(everything.filter(pk__in=given - there).values_list("pk", flat=True))
    if is_numbered_here:
        newer = everything if last is None else everything.filter(pk__gt=last)
        added.update(newer.values_list("pk", flat=True))
    updated = {one.pk for one in made if one.pk is not None} - added if updating else set()
    for row in model_events.rows(chosen.model, chosen.db, sorted(added)):
        yield row, "created"
    for row in model_events.rows(chosen.model, chosen.db, sorted(updated)):
        yield row, "updated"
