"""Saved models as events: `watch` a model and what happens to its rows is published in the same transaction."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Literal, TypeVar, cast

import orjson
from django.contrib.auth.models import Group
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, DatabaseError, router, transaction
from django.db.models import Field, Model, QuerySet
from django.db.models.signals import post_delete, post_save, pre_delete

from events import publish_many, topics
from events.publishing import MAX_DATA
from notifications import content, model_fields, notifying
from notifications.models import TITLE_MAX
from notifications.notifying import Draft, People

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Model)
T = TypeVar("T")
Change = Literal["created", "updated", "deleted"]

_EVENTS_PER_INSERT: Final = 1000
_ROWS_PER_LOOK: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch(Generic[M]):
    """What was asked for with `watch`."""

    model: type[M]
    topic: str | Callable[[M], str | None]
    fields: tuple[str, ...]
    title: Callable[[M], object]
    url: Callable[[M], object] | None
    notify: Callable[[M, Change], People | None] | None
    type: str
    data: Callable[[M, Change], dict[str, Any]] | None

    def topic_of(self, instance: M) -> str | None:
        return self.topic if isinstance(self.topic, str) else self.topic(instance)


@dataclass(slots=True)
class Outbox:
    """What one operation has to say, sent in a few statements inside its transaction."""

    events: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    letters: list[tuple[Draft, People]] = field(default_factory=list)

    def add(
        self,
        watches: Iterable[Watch[Any]],
        instance: Model,
        change: Change,
        before: Model | None = None,
    ) -> None:
        """Something for the readers of these watches. `before` is the row as it was, where a topic may have moved."""
        for each in watches:
            self.events.extend(_events(each, instance, change, before))
            letter = _letter(each, instance, change)
            if letter is not None:
                self.letters.append(letter)

    def take(self, other: Outbox) -> None:
        self.events.extend(other.events)
        self.letters.extend(other.letters)

    def send(self) -> None:
        for start in range(0, len(self.events), _EVENTS_PER_INSERT):
            publish_many(self.events[start : start + _EVENTS_PER_INSERT])
        if self.letters:
            notifying.deliver(self.letters)


@dataclass(frozen=True, slots=True)
class Deletion:
    """One deletion with all that it takes along."""

    held: dict[tuple[type[Model], Any], Model]
    """The watched rows of it, as they are stored and locked."""
    outbox: Outbox = field(default_factory=Outbox)


_watches: dict[type[Model], Watch[Any]] = {}
_deletion: ContextVar[Deletion | None] = ContextVar("hub_deletion", default=None)
"""The innermost one under way: a signal handler may delete something else in the middle of another."""


def watch(
    model: type[M],
    *,
    topic: str | Callable[[M], str | None] = topics.DASHBOARD,
    fields: Sequence[str] = (),
    title: Callable[[M], object] = str,
    url: Callable[[M], object] | None = None,
    notify: Callable[[M, Change], People | None] | None = None,
    type: str = "",
    data: Callable[[M, Change], dict[str, Any]] | None = None,
) -> None:
    """Publish what happens to the rows of `model`; call it once, in an app's `ready()`.

    Every saved, bulk-made, updated and deleted row is an event `<app>.<model>.created`, `.updated` or `.deleted` with
    `{pk, title, url, fields}`; it exists if and only if the row's own change is committed. Loaded fixtures are
    silent. A `topic` that depends on the row may be None: nobody is told. When a change moves a row to another
    topic, the old one reads `deleted` and the new one `created`.

    `title` is cut to one line of 200 characters, an unsafe `url` is left out (and always of what is deleted), and
    fields that do not fit 32 KiB are left out and named in `omitted`. `notify(instance, change)` returns the people who get
    an inbox row with that title and link. These callables run inside the transaction of the change and get the row
    as the database has it, which is not always the very object that was saved. What `title`, `url` and `notify` raise is
    logged and that part left out: no row is lost for its caption. What `topic` and `data` raise undoes the change, and so
    does an error of the database, after which nothing could be kept.

    Saving through a proxy or a multi-table child of `model` is an event of `model`; a change of the parent's row alone is none
    of a watched child. `type` replaces `<app>.<model>`, `data(instance, change)` the whole data. Raw SQL and
    `QuerySet.raw` are not seen.
    """
    options = model._meta
    if options.abstract or options.proxy or options.swapped or options.auto_created:
        raise ImproperlyConfigured(
            f"{model.__name__} has no table of its own to watch: watch {options.concrete_model!r}."
        )
    if model in _watches:
        raise ImproperlyConfigured(f"{options.label} is watched already: call watch() on it once.")
    _watches[model] = Watch(
        model=model,
        topic=topic,
        fields=tuple(fields),
        title=title,
        url=url,
        notify=notify,
        type=type or f"{options.app_label}.{options.model_name}".lower(),
        data=data,
    )
    _make_save_atomic(model)
    for sender in _family(model):
        post_save.connect(_saved, sender=sender, dispatch_uid="hub_notifications")
        if sender._meta.concrete_model is model:
            pre_delete.connect(_deleting, sender=sender, dispatch_uid="hub_notifications")
            post_delete.connect(_deleted, sender=sender, dispatch_uid="hub_notifications")


def unwatch(model: type[Model]) -> None:
    """The opposite, for tests."""
    _watches.pop(model, None)


def every() -> list[Watch[Any]]:
    return list(_watches.values())


def watches_of(model: type[Model]) -> list[Watch[Any]]:
    """Its own and those of the models that it is a proxy or a child of."""
    return [_watches[each] for each in model.__mro__ if each in _watches]


def require_database_of_log(model: type[Model], using: str) -> None:
    """Row and event can only come together in one database: refuse the others before anything is written."""
    if using != DEFAULT_DB_ALIAS:
        raise ImproperlyConfigured(
            f"{model._meta.label} is watched and was to be written in the database {using!r}: "
            f"the log is in {DEFAULT_DB_ALIAS!r}, and no transaction spans both."
        )


def rows(model: type[M], using: str, keys: Iterable[Any]) -> Iterator[M]:
    """The rows as they are in the database now, whatever the model's managers hide."""
    wanted = list(keys)
    for start in range(0, len(wanted), _ROWS_PER_LOOK):
        chunk = wanted[start : start + _ROWS_PER_LOOK]
        yield from QuerySet(model, using=using).filter(pk__in=chunk).order_by("pk")


def locked_rows(model: type[M], using: str, keys: Iterable[Any]) -> dict[Any, M]:
    chosen: QuerySet[M] = (
        QuerySet(model, using=using).select_for_update(no_key=True).filter(pk__in=list(keys))
    )
    return {row.pk: row for row in chosen.order_by("pk")}


@contextmanager
def deleting(doomed: Mapping[type[Model], Iterable[Model]], using: str) -> Iterator[None]:
    """Tell of the watched ones of these instances at the end, all at once, in the transaction that deletes them.

    What was collected may be stale: the rows are locked and read again, so that each is told of where it is now, and
    one that somebody else deleted meanwhile is not told of again.
    """
    held: dict[tuple[type[Model], Any], Model] = {}
    for model in sorted(doomed, key=lambda each: each._meta.label):
        concrete = model._meta.concrete_model
        if concrete not in _watches:
            continue
        keys = [instance.pk for instance in doomed[model]]
        for start in range(0, len(keys), _ROWS_PER_LOOK):
            rows_of_it = locked_rows(concrete, using, keys[start : start + _ROWS_PER_LOOK])
            held.update({(concrete, pk): row for pk, row in rows_of_it.items()})
    deletion = Deletion(held)
    token = _deletion.set(deletion)
    try:
        yield
    finally:
        _deletion.reset(token)
    deletion.outbox.send()


def settled(instances: Sequence[M], using: str, *, partial: bool = False) -> list[M]:
    """The instances, or their rows read again where memory does not show what was stored.

    That is so after `save(update_fields=…)`, for deferred fields, expressions such as `F("count") + 1`, and values of
    another type than the field's, such as text for a decimal; also for what the database computes.
    """
    stale = [one.pk for one in instances if partial or not _is_settled(one)]
    if not stale:
        return list(instances)
    fresh = {row.pk: row for row in rows(type(instances[0]), using, stale)}
    return [fresh.get(one.pk, one) for one in instances]


def has_moving_topic(model: type[Model]) -> bool:
    return any(callable(each.topic) for each in watches_of(model))


def _family(model: type[Model]) -> Iterator[type[Model]]:
    yield model
    for child in model.__subclasses__():
        yield from _family(child)


def _make_save_atomic(model: type[Model]) -> None:
    """Outside a transaction `save()` has committed when `post_save` fires; a crash between loses the event."""
    original: Any = model.save_base
    if getattr(original, "is_watched", False):
        return

    @functools.wraps(original)
    def save_base(
        self: Model,
        raw: bool = False,
        force_insert: Any = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        alias = using or router.db_for_write(type(self), instance=self)
        if not raw and watches_of(type(self)):
            require_database_of_log(type(self), alias)
        with transaction.atomic(using=alias):
            if not raw and not force_insert and self.pk is not None:
                _remember(self, alias)
            original(
                self,
                raw=raw,
                force_insert=force_insert,
                force_update=force_update,
                using=alias,
                update_fields=update_fields,
            )

    marked = cast(Any, save_base)
    marked.is_watched = marked.alters_data = True
    setattr(model, "save_base", save_base)  # noqa: B010 - mypy knows the method that this replaces


def _remember(instance: Model, using: str) -> None:
    """Note the stored row, held until the transaction ends, where the topic depends on it."""
    if has_moving_topic(type(instance)):
        vars(instance)["_hub_before"] = locked_rows(type(instance), using, [instance.pk]).get(
            instance.pk
        )


def _saved(
    sender: type[Model],
    instance: Model,
    created: bool,
    raw: bool,
    using: str,
    update_fields: frozenset[str] | None,
    **_: Any,
) -> None:
    before = vars(instance).pop("_hub_before", None)
    watches = watches_of(sender)
    if raw or not watches:
        return
    (row,) = settled([instance], using, partial=update_fields is not None)
    outbox = Outbox()
    outbox.add(watches, row, "created" if created else "updated", before)
    outbox.send()


def _deleting(sender: type[Model], instance: Model, **_: Any) -> None:
    """While the row and what it refers to are still there, put down what is to be said."""
    deletion = _deletion.get()
    concrete = sender._meta.concrete_model
    own = _watches.get(
        cast(Any, concrete)
    )  # parents of a multi-table child get signals of their own
    row = deletion.held.get((cast(Any, concrete), instance.pk)) if deletion is not None else None
    if own is not None and row is not None:
        outbox = vars(instance)["_hub_deleted"] = Outbox()
        outbox.add([own], row, "deleted")


def _deleted(sender: type[Model], instance: Model, **_: Any) -> None:
    said: Outbox | None = vars(instance).pop("_hub_deleted", None)
    deletion = _deletion.get()
    if said is not None and deletion is not None:
        deletion.outbox.take(said)


def _events(
    each: Watch[Any], instance: Model, change: Change, before: Model | None
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    topic = each.topic_of(instance)
    if change == "updated" and before is not None:
        old = each.topic_of(before)
        if old != topic:
            change = "created"
            if old is not None:
                yield old, f"{each.type}.deleted", _data(each, before, "deleted")
    if topic is not None:
        yield topic, f"{each.type}.{change}", _data(each, instance, change)


def _letter(each: Watch[Any], instance: Model, change: Change) -> tuple[Draft, People] | None:
    people = _asked(each, "notify", lambda: _people(each, instance, change), None)
    if people is None:
        return None
    kind, title, url = f"{each.type}.{change}", _title(each, instance), _url(each, instance, change)
    return notifying.draft(kind=kind, title=title, url=url), people


def _people(each: Watch[Any], instance: Model, change: Change) -> People | None:
    people = each.notify(instance, change) if each.notify is not None else None
    if people is None or people is notifying.EVERYONE or isinstance(people, (Group, QuerySet)):
        return people  # looked up once for all rows
    return notifying.person_ids(people)


def _data(each: Watch[Any], instance: Model, change: Change) -> dict[str, Any]:
    if each.data is not None:
        return _fitting(each.data(instance, change))
    fields: dict[str, Any] = {}
    omitted: list[str] = []
    for name in each.fields:
        column = model_fields.find(each.model, name)
        try:
            if column is None:
                raise ValueError(name)
            fields[name] = model_fields.encode(column, getattr(instance, column.attname))
        except (TypeError, ValueError):  # the system check names it; here the save must go on
            omitted.append(name)
    keys = [_key(column, instance) for column in each.model._meta.pk_fields]
    data = {
        "pk": keys[0] if len(keys) == 1 else keys,
        "title": _title(each, instance),
        "url": _url(each, instance, change),
        "fields": fields,
    }
    return _fitting(data, omitted)


def _key(column: Field[Any, Any], instance: Model) -> Any:
    value = getattr(instance, column.attname)
    try:
        return model_fields.encode(column, value)
    except (TypeError, ValueError):  # a field of somebody's own, which the system check names
        return str(value)


def _fitting(data: dict[str, Any], omitted: Sequence[str] = ()) -> dict[str, Any]:
    """As much of the data as an event holds: the largest fields go first, their names stay in `omitted`."""
    left_out = list(omitted)
    nested = data.get("fields")
    container: dict[str, Any] = dict(nested if isinstance(nested, dict) else data)
    by_size = sorted(container, key=lambda name: _size(container[name]))
    while True:
        whole = {**data, "fields": container} if isinstance(nested, dict) else container
        if left_out:
            whole = {**whole, "omitted": left_out}
        if not by_size or _size(whole) <= MAX_DATA:
            return whole
        largest = by_size.pop()
        left_out.append(largest)
        del container[largest]


def _size(value: Any) -> float:
    try:
        return len(orjson.dumps(value))
    except TypeError:  # no JSON at all
        return float("inf")


def _title(each: Watch[Any], instance: Model) -> str:
    """One printable line whatever the callable gives; blank ones name the row instead."""
    given = _asked(each, "title", lambda: str(each.title(instance)), "")
    shown = content.printable_line(given)
    return content.cut(shown or f"{each.model._meta.label} {instance.pk}", TITLE_MAX)


def _url(each: Watch[Any], instance: Model, change: Change) -> str:
    if each.url is None or change == "deleted":
        return ""
    ask = each.url
    address = _asked(each, "url", lambda: str(ask(instance) or ""), "")
    return address if content.is_usable_url(address) else ""


def _asked(each: Watch[Any], part: str, ask: Callable[[], T], otherwise: T) -> T:
    try:
        return ask()
    except DatabaseError:
        raise  # PostgreSQL accepts nothing more in this transaction
    except Exception:  # a caption, in code of somebody's own; the row matters more
        logger.exception("%s of watch(%s) failed and is left out", part, each.model._meta.label)
        return otherwise


def _is_settled(instance: Model) -> bool:
    values = vars(instance)
    for column in instance._meta.concrete_fields:
        if column.attname not in values or column.generated:
            return False
        value = values[column.attname]
        if hasattr(value, "resolve_expression"):
            return False
        try:
            if value is not None and type(column.to_python(value)) is not type(value):
                return False
        except Exception:  # noqa: BLE001 - validation of any field class; the stored row decides
            return False
    return True
