"""Rooms in the admin: which there are, for superusers; never what is said there, nor by whom."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from chat import messages, rooms
from chat.models import Message, Room
from events import topics
from tests.chat.test_rooms import told, types

pytestmark = pytest.mark.django_db(transaction=True)
LIST = "/admin/hub_chat/room/"


@pytest.fixture
def root(admin: User) -> Client:
    client = Client()
    client.force_login(admin)
    return client


@pytest.fixture
def room(alice: User, bob: User) -> Room:
    room = rooms.create(alice, "closed", "Night", members=[bob])
    messages.post(bob, room.pk, uuid.uuid4(), "a secret")
    return room


def act(client: Client, action: str, *chosen: Room, **more: str) -> Any:
    data = {"action": action, "_selected_action": [one.pk for one in chosen], **more}
    return client.post(LIST, data, follow=True)


def test_a_room_is_open_as_rooms_are(root, alice):
    rooms.create(alice, "open", "Hall")
    page = root.get(LIST, headers={"Accept-Language": "ko"}).content.decode()
    assert '<td class="field-kind">공개</td>' in page


def test_superusers_see_rooms_and_not_what_is_said_in_them(root, room, alice, bob):
    gone = rooms.create(alice, "open", "Gone")
    rooms.delete(gone)
    page = root.get(LIST).content.decode()
    assert "Night" in page
    assert '<td class="field-members">2</td>' in page
    assert "Gone" not in page
    for path in (LIST, f"{LIST}{room.pk}/change/", f"{LIST}{room.pk}/delete/"):
        page = root.get(path).content.decode()
        assert "a secret" not in page
        assert "bob" not in page
    for path in ("add/", f"{gone.pk}/change/"):
        assert root.get(f"{LIST}{path}").status_code in {302, 403}


def test_nobody_else_does_whatever_they_were_permitted(room, alice):
    alice.is_staff = True
    alice.save()
    alice.user_permissions.set(Permission.objects.all())
    client = Client()
    client.force_login(alice)
    assert client.get(LIST).status_code == 403
    assert act(client, "archive", room).status_code == 403
    assert Room.objects.get().archived_at is None


def test_archiving_goes_through_the_verbs_and_spares_direct_rooms(root, room, alice, bob):
    direct, _is_new = rooms.direct(alice, [bob])
    act(root, "archive", room, direct)
    assert Room.objects.get(pk=room.pk).archived_at is not None
    assert Room.objects.get(pk=direct.pk).archived_at is None
    act(root, "restore", room)
    changes = [data for kind, data in told(topics.room(room.pk)) if kind == "room.updated"]
    assert [data["archived"] for data in changes] == [True, False]


def test_deleting_tells_whoever_was_in_it(root, room, alice, bob):
    other = rooms.create(alice, "open", "Other")
    page = act(root, "delete_selected", room, other).content.decode()
    assert "Night" in page
    act(root, "delete_selected", room, post="yes")
    root.post(f"{LIST}{other.pk}/delete/", {"post": "yes"})
    assert not Room.objects.filter(deleted_at=None).exists()
    assert Message.objects.exists()  # goes bit by bit
    for each in (room, other):
        assert types(topics.room(each.pk))[-1] == "room.deleted"
    assert ("room.removed", {"id": room.pk}) in told(topics.user(bob.pk))
