"""A list of staff and the accounts: who is new is made, who is known is brought in line, nothing else is touched."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection, connections
from django.db.models.signals import post_delete, post_save, pre_delete
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import translation

from accounts import resets, staff, tasks
from accounts.models import Profile, ResetRequest
from accounts.staff import InvalidRow, Row, parse
from events import topics
from events.models import Event
from hub import env
from notifications import watch
from notifications.model_events import unwatch
from tests.accounts.mail_server import MailServer, mail_server
from tests.people import PASSWORD

NEW = "brand-new-pass-77"


def row(username: str, **cells: str) -> Row:
    return parse({"username": username, **cells})


def apply(*rows: Row, **options: Any) -> list[str]:
    return list(staff.apply(rows, **options).results)


def teams_of(user: User) -> set[str]:
    return set(user.groups.values_list("name", flat=True))


def told() -> list[list[int]]:
    """Whose rights were said to have changed."""
    events = Event.objects.filter(topic=topics.ACCESS).order_by("pk")
    return [json.loads(event.data)["users"] for event in events]


class TestReading:
    def test_an_empty_cell_says_nothing(self):
        assert row("nina", name=" ", email="", teams="", active="") == Row("nina")
        assert parse({"username": "nina"}) == Row("nina")

    def test_a_whole_row(self):
        found = row(
            " nina ",
            name=" Nina  Noh ",
            email="nina@EXAMPLE.org",
            teams="Ops; Night ;",
            active="YES",
        )
        assert found == Row(
            "nina", "Nina Noh", "nina@example.org", frozenset({"Ops", "Night"}), True
        )

    @pytest.mark.parametrize(
        ("word", "said"),
        [("yes", True), ("True", True), ("1", True), ("NO", False), ("false", False), ("0", False)],
    )
    def test_active_has_six_words(self, word, said):
        assert row("nina", active=word).active is said

    def test_a_lone_semicolon_is_no_team_at_all(self):
        assert row("nina", teams=" ; ").teams == frozenset()

    def test_usernames_are_normalised(self):
        assert row("ｎｉｎａ").username == "nina"

    @pytest.mark.parametrize(
        "cells",
        [
            {"username": ""},
            {"username": "two words"},
            {"username": "n" * 151},
            {"name": "N" * 151},
            {"name": "a\x00b"},
            {"email": "nowhere"},
            {"email": f"n@{'x' * 250}.org"},
            {"teams": "T" * 151},
            {"teams": "a\x1bb"},
            {"teams": ";".join(map(str, range(51)))},
            {"active": "perhaps"},
        ],
    )
    def test_what_does_not_fit_is_refused_and_named(self, cells):
        with pytest.raises(InvalidRow, match=f"^{next(iter(cells))}: "):
            parse({"username": "nina", **cells})


@pytest.mark.django_db
class TestAccounts:
    def test_somebody_new_has_a_profile_and_no_password(self):
        assert apply(row("nina", name="Nina Noh", email="nina@example.org", teams="Ops")) == [
            "created"
        ]
        nina = User.objects.get(username="nina")
        assert (nina.get_full_name(), nina.email) == ("Nina Noh", "nina@example.org")
        assert nina.is_active
        assert not nina.is_staff
        assert not nina.is_superuser
        assert not nina.has_usable_password()
        assert Profile.objects.filter(user=nina).count() == 1
        assert teams_of(nina) == {"Ops"}

    def test_somebody_new_may_be_closed_from_the_start(self):
        apply(row("nina", active="no"))
        assert not User.objects.get(username="nina").is_active

    def test_the_same_list_again_changes_nothing(self):
        rows = [
            row("nina", name="Nina Noh", email="n@example.org", teams="Ops;Night", active="yes")
        ]
        apply(*rows)
        before = (User.objects.values().get(username="nina"), Event.objects.count())
        with CaptureQueriesContext(connection) as asked:
            assert apply(*rows) == ["unchanged"]
        assert (User.objects.values().get(username="nina"), Event.objects.count()) == before
        assert all(query["sql"].startswith("SELECT") for query in asked)

    def test_an_empty_cell_leaves_what_is_there(self, alice):
        alice.first_name = "Alice Ahn"
        alice.save()
        alice.groups.add(Group.objects.create(name="Ops"))
        assert apply(row("alice")) == ["unchanged"]
        assert apply(row("alice", name="Alice Bae")) == ["changed"]
        alice.refresh_from_db()
        assert (alice.get_full_name(), alice.email) == ("Alice Bae", "alice@example.org")
        assert teams_of(alice) == {"Ops"}

    def test_a_name_in_two_parts_stays_so_while_it_is_the_same(self, alice):
        alice.first_name, alice.last_name = "Alice", "Ahn"
        alice.save()
        assert apply(row("alice", name="Alice Ahn")) == ["unchanged"]
        assert apply(row("alice", name="Ahn Alice")) == ["changed"]
        alice.refresh_from_db()
        assert (alice.first_name, alice.last_name) == ("Ahn Alice", "")

    def test_teams_are_exactly_those_and_missing_ones_are_made(self, alice):
        ops, _night = Group.objects.create(name="Ops"), Group.objects.create(name="Night")
        alice.groups.add(ops)
        applied = staff.apply([row("alice", teams="Night;Day"), row("nina", teams="Day;Ops")])
        assert applied.results == ["changed", "created"]
        assert applied.teams_made == ["Day"]
        assert teams_of(alice) == {"Night", "Day"}
        assert apply(row("alice", teams=";")) == ["changed"]
        assert teams_of(alice) == set()

    def test_passwords_and_flags_are_not_touched(self, admin):
        before = User.objects.values("password", "is_staff", "is_superuser").get(pk=admin.pk)
        apply(row("admin", name="Other", email="other@example.org", teams="Ops", active="yes"))
        assert (
            User.objects.values("password", "is_staff", "is_superuser").get(pk=admin.pk) == before
        )

    def test_nobody_closes_their_own_account(self, admin, alice):
        applied = staff.apply(
            [row("admin", name="Other", active="no"), row("alice", active="no")], by=admin
        )
        assert applied.results == ["error", "changed"]
        assert applied.reasons == {0: "active: nobody can deactivate their own account."}
        admin.refresh_from_db()
        assert (admin.is_active, admin.get_full_name()) == (True, "")

    def test_a_username_that_differs_in_case_alone_is_refused(self, alice):
        applied = staff.apply([row("Alice"), row("bob")])
        assert applied.results == ["error", "created"]
        assert "there is alice already" in applied.reasons[0]
        assert not User.objects.filter(username="Alice").exists()

    def test_rights_that_change_are_told_once(self, alice, bob, charlie):
        for user in (alice, bob, charlie):
            user.groups.add(Group.objects.get_or_create(name="Ops")[0])
        Event.objects.all().delete()
        apply(
            row("alice", active="no"),
            row("bob", teams="Night"),
            row("charlie", name="Charlie Cho", teams="Ops"),
            row("nina", teams="Night"),
        )
        assert told() == [sorted([alice.pk, bob.pk])]

    def test_a_dry_run_says_the_same_and_writes_nothing(self, alice, admin):
        rows = [
            row("alice", name="Alice Bae", teams="Ops"),
            row("admin", active="no"),
            row("nina", email="nina@example.org", teams="Ops;Night"),
            row("bob", active="yes"),
        ]
        with CaptureQueriesContext(connection) as asked:
            foreseen = staff.apply(rows, by=admin, dry_run=True, invite=True)
        assert all(query["sql"].startswith("SELECT") for query in asked)
        assert foreseen == staff.apply(rows, by=admin, invite=True)

    def test_eighty_rows_take_as_many_queries_as_twenty(self, alice):
        counts = []
        for size in (20, 80):
            names = [f"p{size}x{number}" for number in range(size)]
            apply(*[row(name, teams="Old") for name in names[: size // 2]])
            rows = [
                row(
                    name,
                    name=f"N {name}",
                    email=f"{name}@example.org",
                    teams=f"T{size};All",
                    active="no",
                )
                for name in names
            ]
            with CaptureQueriesContext(connection) as asked:
                apply(*rows, invite=True)
            counts.append(len(asked))
            with CaptureQueriesContext(connection) as asked:
                assert set(apply(*rows)) == {"unchanged"}
            assert len(asked) == 3
        assert counts[0] >= counts[1]
        assert counts[1] < 40


@pytest.fixture
def watched() -> Iterator[None]:
    """Accounts and teams, as an operator's own app might watch them."""
    saves = [(model, vars(model).get("save_base")) for model in (User, Group)]
    for model, _ in saves:
        watch(model)
    yield
    for model, save in saves:
        unwatch(model)
        for signal in (post_save, pre_delete, post_delete):
            signal.disconnect(sender=model, dispatch_uid="hub_notifications")
        if save is None:
            del model.save_base
        else:
            setattr(model, "save_base", save)  # noqa: B010 - mypy knows the method that this replaces


@pytest.mark.django_db
def test_who_watches_accounts_and_teams_is_told(watched, alice):
    Event.objects.all().delete()
    apply(row("alice", name="Alice Bae"), row("nina", teams="Ops"))
    types = Event.objects.filter(topic=topics.DASHBOARD).order_by("type")
    assert list(types.values_list("type", flat=True)) == [
        "auth.group.created",
        "auth.user.created",
        "auth.user.updated",
    ]


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def between(self, monkeypatch: pytest.MonkeyPatch, happens: Any) -> None:
        """Let something happen after the rows were compared, and before they are stored."""
        store = staff._store

        def late(*given: Any) -> Any:
            happens()
            return store(*given)

        monkeypatch.setattr(staff, "_store", late)

    def test_what_an_administrator_stores_meanwhile_is_kept(self, alice, monkeypatch):
        self.between(
            monkeypatch,
            lambda: User.objects.filter(pk=alice.pk).update(email="new@example.org", is_staff=True),
        )
        assert apply(row("alice", name="Alice Bae")) == ["changed"]
        alice.refresh_from_db()
        assert (alice.get_full_name(), alice.email) == ("Alice Bae", "new@example.org")
        assert alice.is_staff

    def test_what_is_right_already_meanwhile_is_no_change(self, alice, monkeypatch):
        self.between(
            monkeypatch, lambda: User.objects.filter(pk=alice.pk).update(first_name="Alice Bae")
        )
        assert apply(row("alice", name="Alice Bae")) == ["unchanged"]

    def test_an_account_made_meanwhile_is_changed_and_not_invited(self, monkeypatch):
        self.between(
            monkeypatch, lambda: User.objects.create_user("nina", "nina@example.org", PASSWORD)
        )
        applied = staff.apply([row("nina", name="Nina Noh")], invite=True)
        assert (applied.results, applied.invited) == (["changed"], 0)
        nina = User.objects.get(username="nina")
        assert nina.check_password(PASSWORD)
        assert nina.get_full_name() == "Nina Noh"
        assert Profile.objects.filter(user=nina).count() == 1

    def test_an_account_and_a_team_that_go_meanwhile_are_made_again(self, alice, monkeypatch):
        Group.objects.create(name="Ops")

        def gone() -> None:
            Group.objects.all().delete()
            User.objects.filter(pk=alice.pk).delete()

        self.between(monkeypatch, gone)
        assert apply(row("alice", name="Alice Bae", teams="Ops")) == ["created"]
        assert teams_of(User.objects.get(username="alice")) == {"Ops"}

    def test_two_lists_at_once_make_everybody_once(self, monkeypatch):
        rows = [
            row(f"p{number}", teams="Ops;Night", email=f"p{number}@example.org")
            for number in range(60)
        ]
        compared = threading.Barrier(2)
        store = staff._store_patiently

        def together(*given: Any) -> Any:
            compared.wait(10)
            return store(*given)

        monkeypatch.setattr(staff, "_store_patiently", together)
        results: list[staff.Applied] = []

        def work(mine: list[Row]) -> None:
            try:
                results.append(staff.apply(mine, invite=True))
            finally:
                connections.close_all()

        threads = [threading.Thread(target=work, args=[mine]) for mine in (rows, rows[::-1])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        made = [sum(one == "created" for one in applied.results) for applied in results]
        assert sorted(made) == [0, 60]
        assert "error" not in results[0].results + results[1].results
        assert sorted(len(applied.teams_made) for applied in results) == [0, 2]
        assert User.objects.count() == Profile.objects.count() == ResetRequest.objects.count() == 60
        assert User.groups.through.objects.count() == 120


@pytest.fixture
def server(settings: Any) -> Iterator[MailServer]:
    with mail_server() as running:
        for name, value in env.mail(f"smtp://127.0.0.1:{running.port}?starttls=0").items():
            setattr(settings, name, value)
        yield running


@pytest.mark.django_db(transaction=True)
class TestInvitations:
    def test_who_is_new_gets_a_link_that_works_once(self, client: Client, alice, server):
        rows = [
            row("nina", email="nina@example.org"),
            row("mute"),
            row("gone", email="gone@example.org", active="no"),
            row("alice", name="Alice Bae"),
        ]
        assert staff.apply(rows, invite=True).invited == 1
        assert staff.apply(rows, invite=True).invited == 0
        assert tasks.send_resets() == 1
        [letter] = server.letters
        assert letter["To"] == "nina@example.org"
        assert "Your username is nina." in letter.get_content()
        link = re.search(r"http://localhost:\d+(/\S+)", letter.get_content())
        assert link is not None
        form = client.get(link[1])["Location"]
        assert client.post(form, {"new_password1": NEW, "new_password2": NEW}).status_code == 302
        assert client.login(username="nina", password=NEW)
        assert tasks.send_resets() == 0

    def test_nobody_is_invited_unasked(self, server):
        staff.apply([row("nina", email="nina@example.org")])
        assert not ResetRequest.objects.exists()

    def test_what_fails_is_sent_later(self, server):
        server.recipient_answer = b"451 later"
        staff.apply([row("nina", email="nina@example.org")], invite=True)
        assert tasks.send_resets() == 0
        server.recipient_answer = b"250 ok"
        ResetRequest.objects.update(due_at=ResetRequest.objects.get().created_at)
        assert tasks.send_resets() == 1
        assert len(server.letters) == 1

    @pytest.mark.parametrize("meanwhile", ["password", "closed", "deleted", "no address"])
    def test_an_invitation_that_came_to_nothing_is_not_sent(self, server, meanwhile):
        staff.apply([row("nina", email="nina@example.org")], invite=True)
        nina = User.objects.get(username="nina")
        match meanwhile:
            case "password":
                nina.set_password(NEW)
            case "closed":
                nina.is_active = False
            case "no address":
                nina.email = ""
        if meanwhile == "deleted":
            nina.delete()
        else:
            nina.save()
        tasks.send_resets()
        assert server.letters == []
        assert not ResetRequest.objects.exists()

    def test_it_goes_to_the_address_of_now(self, server):
        staff.apply([row("nina", email="nina@example.org")], invite=True)
        apply(row("nina", email="noh@example.org"))
        tasks.send_resets()
        assert [letter["To"] for letter in server.letters] == ["noh@example.org"]

    def test_many_go_in_one_sweep_and_who_asked_goes_first(self, alice, server):
        staff.apply([row(f"p{n}", email=f"p{n}@example.org") for n in range(45)], invite=True)
        resets.ask("alice@example.org", "")
        assert tasks.send_resets() == 46
        assert len(server.letters) == 46
        assert server.letters[0]["To"] == "alice@example.org"

    def test_it_speaks_the_language_of_who_imports(self, server):
        with translation.override("ko"):
            staff.apply([row("nina", email="nina@example.org")], invite=True)
        assert ResetRequest.objects.get().language == "ko"
