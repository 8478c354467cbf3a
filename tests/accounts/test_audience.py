from __future__ import annotations

from uuid import uuid4

import pytest
from django.contrib.auth.models import Group, User
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from accounts import audience
from accounts.authenticate import SCOPES, Credential
from tests.people import person

pytestmark = pytest.mark.django_db


def never_staff(user: User) -> bool:
    return False


def failing_predicate(user: User) -> bool:
    raise RuntimeError("directory is down")


def credential(user: User, *scopes: str) -> Credential:
    return Credential(
        user_id=user.pk,
        username=user.username,
        name=user.username,
        is_superuser=user.is_superuser,
        scopes=frozenset(scopes or SCOPES),
        key_id=1,
    )


@pytest.fixture
def team(alice: User, bob: User) -> Group:
    team = Group.objects.create(name="Warehouse")
    team.user_set.add(alice, bob)
    return team


def test_everybody_reads_the_own_topic_and_nobody_elses(alice: User, bob: User) -> None:
    assert audience.may_read(alice.pk, f"user.{alice.pk}")
    assert not audience.may_read(bob.pk, f"user.{alice.pk}")


def test_a_superuser_does_not_read_other_peoples_own_topics(alice: User, admin: User) -> None:
    assert not audience.may_read(admin.pk, f"user.{alice.pk}")


def test_staff_read_the_groups_that_exist(alice: User) -> None:
    for name in ("dashboard", "announcements", "sales", "ops"):
        assert audience.may_read(alice.pk, f"group.{name}")
    assert not audience.may_read(alice.pk, "group.nosuch")


def test_a_team_is_read_by_members_and_superusers(
    team: Group, alice: User, charlie: User, admin: User
) -> None:
    topic = f"team.{team.pk}"
    asked = [(user.pk, topic) for user in (alice, charlie, admin)]
    assert audience.allowed(asked) == {(alice.pk, topic), (admin.pk, topic)}


def test_a_team_that_is_gone_is_read_by_nobody(team: Group, admin: User) -> None:
    topic = f"team.{team.pk}"
    team.delete()
    assert not audience.may_read(admin.pk, topic)


@pytest.mark.parametrize(
    "topic",
    ["", ".", "user", "user.", "user.01", "user.x", "team.0", "team.-1", "team.9" * 40, "access",
     "USER.1", "group.dash board", "room.1", f"job.{uuid4()}", "user.1\n", "group.ⅳ", "nosuch.1"],
)  # fmt: skip
def test_malformed_absent_and_unregistered_get_the_same_no(admin: User, topic: str) -> None:
    assert not audience.may_read(admin.pk, topic)


def test_an_inactive_account_reads_nothing(alice: User) -> None:
    alice.is_active = False
    alice.save()
    assert not audience.may_read(alice.pk, "group.dashboard")
    assert not audience.may_read(alice.pk, f"user.{alice.pk}")
    assert audience.default_topics(alice.pk) == []


def test_an_account_that_is_gone_reads_nothing() -> None:
    assert not audience.may_read(987654, "group.dashboard")
    assert not audience.may_read(987654, "user.987654")


@pytest.mark.parametrize("predicate", ["never_staff", "failing_predicate"])
def test_the_predicate_narrows_staff_and_fails_closed(
    alice: User, settings: object, predicate: str
) -> None:
    settings.HUB_IS_STAFF = f"{__name__}.{predicate}"  # type: ignore[attr-defined]
    assert not audience.is_staff_of_hub(alice)
    assert not audience.may_read(alice.pk, "group.dashboard")


def test_default_topics_are_own_groups_and_own_teams(team: Group, alice: User, admin: User) -> None:
    groups = ["group.dashboard", "group.announcements", "group.sales", "group.ops"]
    assert audience.default_topics(alice.pk) == [f"user.{alice.pk}", *groups, f"team.{team.pk}"]
    assert audience.default_topics(admin.pk) == [f"user.{admin.pk}", *groups]


def test_default_topics_of_many_cost_as_many_queries_as_of_one(
    team: Group,
    alice: User,
    charlie: User,
    django_assert_num_queries: DjangoAssertNumQueries,
) -> None:
    with django_assert_num_queries(2):
        found = audience.default_topics_of([alice.pk, charlie.pk, 987654])
    assert found == {
        alice.pk: audience.default_topics(alice.pk),
        charlie.pk: audience.default_topics(charlie.pk),
        987654: [],
    }


def test_publishing_follows_the_rights_table(
    team: Group, alice: User, charlie: User, admin: User
) -> None:
    topic = f"team.{team.pk}"
    publisher, outsider, root = (
        credential(alice, "read", "publish"),
        credential(charlie, "read", "publish"),
        credential(admin),
    )
    assert audience.may_publish(publisher, "group.sales")
    assert not audience.may_publish(publisher, "group.dashboard")
    assert not audience.may_publish(publisher, "group.announcements")
    assert not audience.may_publish(publisher, "group.nosuch")
    assert audience.may_publish(root, "group.dashboard")
    assert audience.may_publish(publisher, topic)
    assert not audience.may_publish(outsider, topic)
    assert audience.may_publish(root, topic)
    assert not audience.may_publish(publisher, f"user.{alice.pk}")
    assert not audience.may_publish(root, "access")
    assert not audience.may_publish(credential(alice, "read"), "group.sales")


def test_a_registered_kind_is_asked_once_with_all_pairs_of_active_staff(
    alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audience, "_rules", dict(audience._rules))
    asked = []

    def rule(pairs):
        asked.append(set(pairs))
        return {pair for pair in pairs if pair[0] == alice.pk}

    audience.register("room", rule)
    answer = audience.allowed([(alice.pk, "room.1"), (bob.pk, "room.1"), (999, "room.1")])
    assert answer == {(alice.pk, "room.1")}
    assert [{user for user, _ in pairs} for pairs in asked] == [{alice.pk, bob.pk}]


def test_the_number_of_queries_does_not_grow(team: Group) -> None:
    from django.db import connection

    def queries(count: int) -> int:
        users = [person(f"p{n}") for n in range(count)]
        pairs = [(u.pk, t) for u in users for t in (f"user.{u.pk}", f"team.{team.pk}", "group.ops")]
        with CaptureQueriesContext(
            connection,
        ) as captured:
            audience.allowed(pairs)
        return len(captured)

    assert queries(1) == queries(20) <= 4
