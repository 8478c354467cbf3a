from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from celery import shared_task
from django.contrib.admin.sites import AdminSite
from django.contrib.auth.models import Group, User
from django.core import checks, serializers
from django.core.exceptions import ImproperlyConfigured
from django.core.management import BaseCommand, call_command
from django.db import connection, transaction
from django.db.models import F, Field, Model, QuerySet
from django.db.models.deletion import Collector
from django.db.models.signals import post_save, pre_delete
from django.test.utils import CaptureQueriesContext, isolate_apps

from events import log, topics
from events.publishing import MAX_DATA
from notifications import EVERYONE, inbox, watch
from notifications.checks import check_watches
from notifications.model_events import unwatch
from tests.shop.models import Abstract, BigOrder, Customer, Order, RushOrder, Tag

pytestmark = pytest.mark.django_db(transaction=True)

FIELDS = ["name", "customer", "total", "count", "state"]


@pytest.fixture(autouse=True)
def nobody_watches_afterwards() -> Iterator[None]:
    yield
    for model in (Order, RushOrder, Customer):
        unwatch(model)


@pytest.fixture
def watched() -> None:
    watch(Order, fields=FIELDS)


def events(topic: str = topics.DASHBOARD) -> list[Any]:
    return log.after(topic, 0, 10_000)


def told(topic: str = topics.DASHBOARD) -> list[tuple[str, Any]]:
    """What was said: the last word of each type, and the name of the order."""
    return [(event.type.rpartition(".")[2], event.data["title"]) for event in events(topic)]


def orders(count: int) -> list[Order]:
    return [Order(name=f"order {n:04}") for n in range(count)]


# --- What an event says --------------------------------------------------------------------------------------------


def test_a_saved_row_is_created_then_updated_then_deleted():
    watch(Order, fields=["state"], title=lambda o: f"Order {o.name}", url=lambda o: f"/o/{o.pk}/")
    order = Order.objects.create(name="A")
    key = order.pk
    order.state = "late"
    order.save()
    order.delete()
    data = {"pk": key, "title": "Order A", "url": f"/o/{key}/", "fields": {"state": "new"}}
    gone = {**data, "url": "", "fields": {"state": "late"}}
    assert [(event.type, event.data) for event in events()] == [
        ("shop.order.created", data),
        ("shop.order.updated", {**data, "fields": {"state": "late"}}),
        ("shop.order.deleted", gone),
    ]


def test_every_kind_of_column_is_written_as_json():
    names = ["customer", "total", "count", "due", "at", "clock", "lasts", "weight", "paid", "ref"]
    watch(Order, fields=[*names, "extra", "notes", "scan"])
    customer = Customer.objects.create(name="C")
    ref = uuid.uuid4()
    Order.objects.create(
        name="A",
        customer=customer,
        total=Decimal("12.5"),
        due=date(2026, 2, 3),
        at=datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
        clock=time(4, 5),
        lasts=timedelta(minutes=90),
        weight=1.5,
        ref=ref,
        extra={"a": [1, None]},
        notes="<b>n</b>",
        scan="scans/a.pdf",
    )
    (event,) = events()
    assert event.data["fields"] == {
        "customer": customer.pk,
        "total": "12.50",
        "count": 1,
        "due": "2026-02-03",
        "at": "2026-02-03T04:05:06.000000Z",
        "clock": "04:05:00",
        "lasts": "P0DT01H30M00S",
        "weight": 1.5,
        "paid": False,
        "ref": str(ref),
        "extra": {"a": [1, None]},
        "notes": "<b>n</b>",
        "scan": "scans/a.pdf",
    }


def test_an_event_shows_what_was_stored_not_what_memory_holds():
    watch(Order, fields=["total", "count", "state"], title=lambda o: f"{o.name}: {o.total:.2f}")
    order = Order(name="A", total="7.5", count="3")  # text for numbers
    order.save()
    order.count = F("count") + 1
    order.save()
    order.state, order.total = "late", Decimal(99)
    order.save(update_fields=["state"])
    partly = Order.objects.only("name").get()
    partly.name = "B"
    partly.save()
    assert [(event.data["title"], *event.data["fields"].values()) for event in events()] == [
        ("A: 7.50", "7.50", 3, "new"),
        ("A: 7.50", "7.50", 4, "new"),
        ("A: 7.50", "7.50", 4, "late"),
        ("B: 7.50", "7.50", 4, "late"),
    ]


def test_what_the_database_computes_is_shown_as_it_is_now():
    watch(Order, fields=["double"])
    order = Order.objects.create(name="A", count=2)
    order.count = 5
    order.save()
    Order.objects.bulk_create([Order(name="B", count=7)])
    assert [event.data["fields"]["double"] for event in events()] == [4, 10, 14]


def test_a_long_or_unprintable_title_is_cut_not_refused():
    titles = iter(["t" * 500, "a\nb\x00c\ud800", "", None])
    watch(Order, title=lambda o: next(titles))
    for order in orders(4):
        order.save()
    first, second, third, fourth = (event.data["title"] for event in events())
    assert len(first) == 200 and first.endswith("…")
    assert second == "a b c"
    assert third.startswith("shop.Order ")
    assert fourth == "None"


def test_an_unsafe_url_is_left_out():
    urls = iter(["javascript:alert(1)", "/ok/", "//evil.example", None, "/" + "u" * 5000])
    watch(Order, url=lambda o: next(urls))
    for order in orders(5):
        order.save()
    assert [event.data["url"] for event in events()] == ["", "/ok/", "", "", ""]


def test_what_does_not_fit_is_left_out_and_named():
    watch(Order, fields=["name", "notes", "extra"])
    Order.objects.create(name="A", notes="n" * 2 * MAX_DATA)
    Order.objects.create(name="B", notes="ü" * 10_000, extra=["x" * 20_000])
    Order.objects.create(name="C", extra=[10**30])
    assert [(event.data["fields"].keys(), event.data["omitted"]) for event in events()] == [
        ({"name", "extra"}, ["notes"]),
        ({"name", "notes"}, ["extra"]),
        ({"name", "notes"}, ["extra"]),
    ]


def test_a_bad_field_is_told_by_a_system_check_and_breaks_no_save():
    watch(Order, fields=["name", "nmae", "blob", "tags"])
    found = [problem for problem in checks.run_checks() if problem.obj is Order]
    assert [(problem.id, problem.level, problem.msg.split("'")[1]) for problem in found] == [
        ("hub_notifications.E001", checks.ERROR, "nmae"),
        ("hub_notifications.E002", checks.ERROR, "blob"),
        ("hub_notifications.E001", checks.ERROR, "tags"),
    ]
    Order.objects.create(name="A", blob=b"scan")
    (event,) = events()
    assert event.data["fields"] == {"name": "A"}
    assert event.data["omitted"] == ["nmae", "blob", "tags"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"topic": "dashboard"}, "hub_notifications.E004"),
        ({"topic": "group.nobodys"}, "hub_notifications.W001"),
        ({"type": "Shop Order"}, "hub_notifications.E003"),
        ({"type": "message"}, "hub_notifications.E006"),
        ({"type": "job.order"}, "hub_notifications.E006"),
    ],
)
def test_a_bad_name_is_told_by_a_system_check(options, problem):
    watch(Order, **options)
    assert [found.id for found in checks.run_checks() if found.obj is Order] == [problem]


@pytest.mark.parametrize("part", ["title", "url", "notify"])
def test_a_caption_that_fails_is_left_out_and_loses_no_row(part, alice, caplog):
    def fail(order: Order, *_: Any) -> Any:
        raise ZeroDivisionError

    parts: dict[str, Any] = {"url": lambda o: "/o/", "notify": lambda o, c: alice, part: fail}
    watch(Order, **parts)
    order = Order.objects.create(name="a")
    (event,) = events()
    assert event.data["title"] == (f"shop.Order {order.pk}" if part == "title" else "a")
    assert event.data["url"] == ("" if part == "url" else "/o/")
    assert len(inbox.page(alice).items) == (part != "notify")
    assert f"{part} of watch(shop.Order) failed" in caplog.text


def test_people_who_are_none_lose_no_row(caplog):
    watch(Order, notify=lambda order, change: "alice")  # type: ignore[arg-type,return-value]
    Order.objects.create(name="a")
    assert told() == [("created", "a")]
    assert "notify of watch(shop.Order) failed" in caplog.text


@pytest.mark.parametrize("part", ["topic", "data"])
def test_what_cannot_be_told_at_all_is_not_stored(part):
    def fail(order: Order, *_: Any) -> Any:
        raise ZeroDivisionError

    parts: dict[str, Any] = {part: fail}
    watch(Order, **parts)
    with pytest.raises(ZeroDivisionError):
        Order.objects.create(name="a")
    assert not Order.objects.exists()


class Ulid(Field):  # type: ignore[type-arg]
    """A field of somebody's own, as packages have them."""

    def get_internal_type(self) -> str:
        return "CharField"

    def db_type(self, connection: Any) -> str:
        return "varchar(26)"


@isolate_apps("tests.shop")
def test_a_key_of_somebodys_own_class_is_told_as_text():
    class Parcel(Model):
        id = Ulid(primary_key=True)

        class Meta:
            app_label = "shop"

        def __str__(self) -> str:
            return str(self.id)

    watch(Parcel, title=lambda row: "a parcel")
    with connection.schema_editor() as editor:
        editor.create_model(Parcel)
    try:
        found = [problem.id for problem in check_watches(None) if problem.obj is Parcel]
        assert found == ["hub_notifications.W002"]
        Parcel(id="01H").save()
        assert [event.data["pk"] for event in events()] == ["01H"]
    finally:
        unwatch(Parcel)
        with connection.schema_editor() as editor:
            editor.delete_model(Parcel)


class Elsewhere:
    def db_for_write(self, model: type[Model], **_: Any) -> str | None:
        return "other" if model is Order else None


def test_rows_of_another_database_than_the_logs_are_refused(watched):
    """No transaction spans both: an event would be heard of though its row was rolled back."""
    collected = Collector("other")
    collected.data = {Order: {Order.objects.create(name="a")}}
    attempts: list[Callable[[], Any]] = [
        lambda: Order(name="b").save(using="other"),
        lambda: Order.objects.using("other").bulk_create([Order(name="b")]),
        lambda: Order.objects.using("other").update(count=2),
        collected.delete,
    ]
    for attempt in attempts:
        with pytest.raises(ImproperlyConfigured, match=r"shop\.Order is watched .* 'other'"):
            attempt()
    assert told() == [("created", "a")]


def test_a_router_that_sends_rows_elsewhere_is_told_by_a_system_check(watched, settings):
    settings.DATABASE_ROUTERS = [Elsewhere()]
    found = [problem.id for problem in check_watches(None) if problem.obj is Order]
    assert found == ["hub_notifications.E005"]


def test_what_can_be_watched_has_no_complaints(watched):
    assert [found for found in checks.run_checks() if found.obj is Order] == []


def test_a_model_is_watched_once(watched):
    with pytest.raises(ImproperlyConfigured, match=r"shop\.Order is watched already"):
        watch(Order)


@pytest.mark.parametrize("model", [BigOrder, Abstract, Order.tags.through])
def test_only_a_model_with_a_table_of_its_own_is_watched(model):
    with pytest.raises(ImproperlyConfigured, match="has no table of its own"):
        watch(model)


# --- Which operations say something (E08) --------------------------------------------------------------------------


def test_bulk_create_of_a_thousand_tells_of_each(watched):
    with CaptureQueriesContext(connection) as captured, transaction.atomic():
        Order.objects.bulk_create(orders(1000))
    assert told() == [("created", f"order {n:04}") for n in range(1000)]
    assert len(captured) < 100


def test_update_of_a_thousand_tells_of_each(watched):
    Order.objects.bulk_create(orders(1000))
    with CaptureQueriesContext(connection) as captured:
        assert Order.objects.filter(name__startswith="order").update(count=F("count") + 6) == 1000
    new = events()[1000:]
    assert [event.type for event in new] == ["shop.order.updated"] * 1000
    assert {event.data["fields"]["count"] for event in new} == {7}
    assert len(captured) < 100


def test_delete_of_a_thousand_tells_of_each(watched):
    Order.objects.bulk_create(orders(1000))
    with CaptureQueriesContext(connection) as captured:
        Order.objects.all().delete()
    new = events()[1000:]
    assert [event.type for event in new] == ["shop.order.deleted"] * 1000
    assert len(captured) < 200


def test_a_cascade_tells_of_each(watched):
    customer = Customer.objects.create(name="C")
    Order.objects.bulk_create(Order(name=f"o{n}", customer=customer) for n in range(3))
    customer.delete()
    assert sorted(told()[3:]) == [("deleted", f"o{n}") for n in range(3)]


@pytest.mark.parametrize("way", ["row", "queryset"])
def test_a_cascade_of_a_hundred_takes_few_queries(watched, way):
    customer = Customer.objects.create(name="C")
    Order.objects.bulk_create(Order(name=f"o{n}", customer=customer) for n in range(100))
    doomed = customer if way == "row" else Customer.objects.filter(pk=customer.pk)
    with CaptureQueriesContext(connection) as captured:
        doomed.delete()
    assert len(events()) == 200
    assert len(captured) < 40


def test_a_row_is_deleted_once_though_two_hold_it(watched):
    one = Order.objects.create(name="a")
    two = Order.objects.get()
    one.delete()
    two.delete()
    assert told() == [("created", "a"), ("deleted", "a")]


def test_setting_null_on_delete_is_an_update(watched):
    first = Order.objects.create(name="first")
    Order.objects.create(name="second", twin=first)
    first.delete()
    assert sorted(told()[2:]) == [("deleted", "first"), ("updated", "second")]


def test_the_admin_delete_action_tells_of_each(watched, admin, rf):
    from django.contrib.admin import ModelAdmin

    Order.objects.bulk_create(orders(3))
    ModelAdmin(Order, AdminSite()).delete_queryset(rf.get("/"), Order.objects.all())
    assert [what for what, _ in told()] == ["created"] * 3 + ["deleted"] * 3


def test_every_way_to_write_tells_once(watched):
    customer = Customer.objects.create(name="C")
    order = Order(name="a")
    order.save()
    Order.objects.get_or_create(name="b")
    Order.objects.get_or_create(name="b")
    Order.objects.update_or_create(name="b", defaults={"count": 2})
    Order.open_ones.update_or_create(name="c")
    Order._base_manager.filter(name="c").update(count=3)
    QuerySet(Order).filter(name="c").update(count=4)
    customer.orders.create(name="d")
    customer.orders.add(order, bulk=True)
    customer.orders.update(count=5)
    customer.orders.clear()
    order.count = 9
    Order.objects.bulk_update([order], ["count"])
    Order.objects.filter(name="a").late().update(count=1)
    Order.open_ones.filter(name="a").values("name").update(count=7)
    Order.objects.filter(name="b")[:1].get().delete()
    assert told() == [
        ("created", "a"),
        ("created", "b"),
        ("updated", "b"),
        ("created", "c"),
        ("updated", "c"),
        ("updated", "c"),
        ("created", "d"),
        ("updated", "a"),
        ("updated", "a"),
        ("updated", "d"),
        ("updated", "a"),
        ("updated", "d"),
        ("updated", "a"),
        ("updated", "a"),
        ("deleted", "b"),
    ]


def test_every_asynchronous_way_to_write_tells_once(watched):
    async def write() -> None:
        order = Order(name="a")
        await order.asave()
        await Order.objects.acreate(name="b")
        await Order.objects.abulk_create([Order(name="c")])
        await Order.objects.aget_or_create(name="d")
        await Order.objects.aupdate_or_create(name="d", defaults={"count": 2})
        await Order.objects.filter(name="a").aupdate(count=2)
        await Order.objects.abulk_update([order], ["count"])
        await Order.objects.filter(name="b").adelete()
        await order.adelete()

    async_to_sync(write)()
    assert told() == [
        ("created", "a"),
        ("created", "b"),
        ("created", "c"),
        ("created", "d"),
        ("updated", "d"),
        ("updated", "a"),
        ("updated", "a"),
        ("deleted", "b"),
        ("deleted", "a"),
    ]


def test_update_reaches_rows_through_joins_and_annotations_once(watched):
    from django.db.models import Count

    tags = [Tag.objects.create(name=f"t{n}") for n in range(3)]
    order = Order.objects.create(name="a")
    order.tags.set(tags)
    Order.objects.create(name="b")
    assert Order.objects.filter(tags__in=tags).update(count=2) == 1
    assert Order.objects.annotate(n=Count("tags")).filter(n=0).update(count=3) == 1
    assert Order.objects.filter(name="nobody").update(count=3) == 0
    assert told()[2:] == [("updated", "a"), ("updated", "b")]


def test_what_django_refuses_is_still_refused(watched):
    Order.objects.create(name="a")
    with pytest.raises(TypeError, match="slice"):
        Order.objects.all()[:1].update(count=2)
    with pytest.raises(TypeError, match="limit"):
        Order.objects.all()[:1].delete()
    assert len(events()) == 1


def test_inserts_that_tolerate_conflicts_tell_what_they_made(watched):
    Order.objects.create(name="a", count=1)
    Order.objects.bulk_create([Order(name="a"), Order(name="b")], ignore_conflicts=True)
    Order.objects.bulk_create(
        [Order(name="a", count=8), Order(name="c", count=8)],
        update_conflicts=True,
        update_fields=["count"],
        unique_fields=["name"],
    )
    assert told() == [("created", "a"), ("created", "b"), ("created", "c"), ("updated", "a")]
    assert events()[-1].data["fields"]["count"] == 8


def test_fixtures_are_silent(watched):
    row = '[{"model": "shop.order", "pk": 7, "fields": {"name": "a", "tags": []}}]'
    for loaded in serializers.deserialize("json", row):
        loaded.save()
    assert Order.objects.get().name == "a"
    assert events() == []


def test_rows_deleted_though_partly_loaded_are_told_in_full(watched):
    Order.objects.create(name="a", count=5)
    Order.objects.only("pk").delete()
    assert told()[1:] == [("deleted", "a")]
    assert events()[1].data["fields"]["count"] == 5


def test_saving_through_a_proxy_or_a_child_is_an_event_of_the_watched_model(watched):
    BigOrder.objects.create(name="proxy")
    BigOrder.objects.update(count=2)
    BigOrder.objects.all().delete()
    rush = RushOrder.objects.create(name="rush", courier="x")
    RushOrder.objects.update(count=3, courier="y")
    rush.refresh_from_db()
    rush.save()
    RushOrder.objects.all().delete()
    assert told() == [
        ("created", "proxy"),
        ("updated", "proxy"),
        ("deleted", "proxy"),
        ("created", "rush"),
        ("updated", "rush"),
        ("updated", "rush"),
        ("deleted", "rush"),
    ]
    assert {event.type.rpartition(".")[0] for event in events()} == {"shop.order"}


def test_a_watched_child_speaks_for_itself_beside_its_parent(watched):
    watch(RushOrder, fields=["courier", "count"])
    RushOrder.objects.create(name="rush", courier="x").delete()
    assert sorted(event.type for event in events()) == [
        "shop.order.created",
        "shop.order.deleted",
        "shop.rushorder.created",
        "shop.rushorder.deleted",
    ]


def test_models_that_nobody_watches_stay_as_they_are():
    Customer.objects.bulk_create([Customer(name="a")])
    Customer.objects.update(name="b")
    Customer.objects.all().delete()
    assert events() == []


# --- Topics --------------------------------------------------------------------------------------------------------


def by_team(order: Order) -> str | None:
    return None if order.team is None else topics.team(order.team)


def test_a_row_that_moves_is_deleted_there_and_created_here():
    watch(Order, topic=by_team, fields=["state"])
    order = Order.objects.create(name="a", team=1, state="old")
    order.team, order.state = 2, "secret"
    order.save()
    Order.objects.update(team=3)
    Order.objects.update(team=None)
    Order.objects.update(count=2)
    order.refresh_from_db()
    order.team = 1
    order.save()
    order.delete()
    assert told("team.1") == [(w, "a") for w in ("created", "deleted", "created", "deleted")]
    assert told("team.2") == told("team.3") == [("created", "a"), ("deleted", "a")]
    assert events("team.1")[1].data["fields"] == {"state": "old"}


@pytest.mark.parametrize("way", ["row", "cascade"])
def test_a_stale_row_is_deleted_where_it_is(way):
    watch(Order, topic=by_team)
    customer = Customer.objects.create(name="C")
    stale = Order.objects.create(name="a", team=1, customer=customer)
    Order.objects.update(team=2)
    if way == "row":
        stale.delete()
    else:
        customer.delete()
    assert told("team.1") == [("created", "a"), ("deleted", "a")]
    assert told("team.2") == [("created", "a"), ("deleted", "a")]


def test_a_row_that_moves_while_it_is_deleted_is_deleted_where_it_was_last():
    import threading

    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    watch(Order, topic=by_team)
    Order.objects.create(name="a", team=1)
    moved, gone = threading.Event(), threading.Event()

    def delete() -> None:
        moved.wait(5)
        Order.objects.filter(name="a").delete()
        gone.set()
        connection.close()

    thread = threading.Thread(target=delete)
    thread.start()
    with transaction.atomic():
        Order.objects.update(team=2)
        moved.set()
        assert not gone.wait(0.3)
    thread.join()
    assert told("team.1") == [("created", "a"), ("deleted", "a")]
    assert told("team.2") == [("created", "a"), ("deleted", "a")]


@pytest.mark.parametrize("by", ["pk", "name"])
def test_a_row_that_an_insert_moves_is_deleted_there_and_created_here(by):
    watch(Order, topic=by_team)
    row = Order.objects.create(name="a", team=1)
    again = Order(pk=row.pk if by == "pk" else None, name="a", team=2)
    stay = Order.objects.create(name="b", team=1)
    Order.objects.bulk_create(
        [again, Order(pk=stay.pk if by == "pk" else None, name="b", team=1), Order(name="c")],
        update_conflicts=True,
        update_fields=["team"],
        unique_fields=["id" if by == "pk" else "name"],
    )
    assert told("team.1") == [
        ("created", "a"),
        ("created", "b"),
        ("deleted", "a"),
        ("updated", "b"),
    ]
    assert told("team.2") == [("created", "a")]


# --- People --------------------------------------------------------------------------------------------------------


def test_notify_names_who_gets_an_inbox_row(alice, bob):
    def whom(order: Order, change: str) -> Any:
        return [alice] if change == "created" else EVERYONE if change == "deleted" else None

    watch(Order, title=lambda o: f"Order {o.name}", url=lambda o: "/orders/", notify=whom)
    order = Order.objects.create(name="a")
    order.save()
    order.delete()
    shown = [(row["kind"], row["title"], row["url"]) for row in inbox.page(alice).items]
    assert shown == [
        ("shop.order.deleted", "Order a", ""),
        ("shop.order.created", "Order a", "/orders/"),
    ]
    assert [row["kind"] for row in inbox.page(bob).items] == ["shop.order.deleted"]


def test_a_thousand_updates_notify_in_few_queries(alice, bob):
    team = Group.objects.create(name="t")
    team.user_set.add(alice, bob)
    watch(Order, notify=lambda order, change: team if change == "updated" else None)
    Order.objects.bulk_create(orders(500))
    with CaptureQueriesContext(connection) as captured:
        Order.objects.update(count=2)
    assert inbox.unread(alice) == inbox.unread(bob) == 500
    assert len(captured) < 200


def test_recipients_are_looked_up_once_for_all_rows(alice, bob):
    watch(Order, notify=lambda order, change: User.objects.filter(username="alice"))
    with CaptureQueriesContext(connection) as captured:
        Order.objects.bulk_create(orders(100))
    looks = [query["sql"] for query in captured if "username\" = 'alice'" in query["sql"]]
    assert len(looks) == 1
    assert len(captured) < 60
    assert inbox.unread(alice) == 100


def test_nobody_as_a_queryset_is_nobody():
    watch(Order, notify=lambda order, change: User.objects.none())
    Order.objects.create(name="a")
    assert told() == [("created", "a")]


# --- Transactions (E00, E06, E07) ----------------------------------------------------------------------------------


def test_row_and_event_come_together_or_not_at_all(watched):
    def fail(**_: Any) -> None:
        raise RuntimeError

    order = Order.objects.create(name="a")
    post_save.connect(fail, sender=Order)
    pre_delete.connect(fail, sender=Order)
    try:
        with pytest.raises(RuntimeError):
            Order.objects.create(name="b")
        with pytest.raises(RuntimeError):
            order.delete()
        with pytest.raises(RuntimeError):
            Order.objects.all().delete()
    finally:
        post_save.disconnect(fail, sender=Order)
        pre_delete.disconnect(fail, sender=Order)
    assert [row.name for row in Order.objects.all()] == ["a"]
    assert told() == [("created", "a")]


class Badly(Exception):
    pass


def _raise() -> None:
    raise Badly


def _set_rollback() -> None:
    transaction.set_rollback(True)


def _break_the_database() -> None:
    Order.objects.create(name=Order.objects.values_list("name", flat=True)[0])  # unique


def _savepoint_rolled_back() -> None:
    with pytest.raises(Badly), transaction.atomic():
        Order.objects.update(state="phantom")
        raise Badly
    raise Badly


def _raise_after_a_bulk() -> None:
    Order.objects.bulk_create([Order(name=f"phantom {uuid.uuid4()}")])
    Order.objects.all().delete()
    raise Badly


def test_no_transaction_that_ends_badly_is_ever_heard_of(watched):
    from django.db import IntegrityError

    endings = [_raise, _set_rollback, _break_the_database, _savepoint_rolled_back]
    endings.append(_raise_after_a_bulk)
    kept = []
    for n in range(100):
        name = f"{n:03}"
        try:
            with transaction.atomic():
                Order.objects.create(name=name)
                if n % 2:
                    endings[n // 2 % 5]()
                else:
                    kept.append(name)
        except (Badly, IntegrityError):
            pass
    assert [title for _, title in told()] == kept
    assert list(Order.objects.order_by("name").values_list("name", flat=True)) == kept
    assert {what for what, _ in told()} == {"created"}


def nested(depth: int, ending: str) -> list[str]:
    """Save one order on each level; returns the names that must remain."""
    saved: list[str] = []

    def level(n: int) -> None:
        with transaction.atomic():
            Order.objects.create(name=f"level {n}")
            saved.append(f"level {n}")
            if n < depth:
                try:
                    level(n + 1)
                except Badly:
                    if ending != "inner":
                        raise
                    saved.remove(f"level {n + 1}")
            elif ending == "inner" and n > 1:
                raise Badly
            if n == 1 and ending == "outer":
                raise Badly

    try:
        level(1)
    except Badly:
        return []
    return saved


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("ending", ["commit", "inner", "outer"])
@pytest.mark.parametrize("place", ["sync view", "async view", "task", "command"])
def test_nested_transactions_tell_exactly_what_they_commit(watched, rf, depth, ending, place):
    expected: list[str] = []

    if place == "sync view":
        expected = nested(depth, ending)
    elif place == "async view":

        async def view() -> list[str]:
            return await sync_to_async(nested)(depth, ending)

        expected = async_to_sync(view)()
    elif place == "task":
        expected = shared_task(name=f"nested-{uuid.uuid4()}")(nested).apply((depth, ending)).get()
    else:

        class Command(BaseCommand):
            def handle(self, *args: Any, **options: Any) -> None:
                expected.extend(nested(depth, ending))

        call_command(Command())
    assert told() == [("created", name) for name in expected]
    assert Order.objects.count() == len(expected)


def test_a_deletion_in_a_savepoint_that_rolls_back_is_not_heard_of(watched):
    """A handler of somebody's own opens a savepoint in the middle of `QuerySet.delete()` and rolls it back."""
    Order.objects.bulk_create(orders(2))
    spared = Order.objects.create(name="spared")

    def handler(instance: Model, **_: Any) -> None:
        if instance.pk != spared.pk:
            with pytest.raises(Badly), transaction.atomic():
                Order.objects.get(pk=spared.pk).delete()
                Order.objects.create(name="phantom")
                raise Badly

    pre_delete.connect(handler, sender=Order)
    try:
        Order.objects.exclude(pk=spared.pk).delete()
    finally:
        pre_delete.disconnect(handler, sender=Order)
    assert told()[3:] == [("deleted", "order 0001"), ("deleted", "order 0000")]


def test_two_who_update_the_same_rows_each_tell_what_they_did(watched):
    import threading

    if connection.vendor != "postgresql":
        pytest.skip("SQLite has one writer at a time")
    Order.objects.bulk_create(orders(20))
    seen: list[int] = []

    def claim() -> None:
        seen.extend(
            Order.objects.filter(name=order.name, state="new").update(state="taken")
            for order in orders(20)
        )
        connection.close()

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(seen) == 20
    assert sorted(told()[20:]) == [("updated", f"order {n:04}") for n in range(20)]
