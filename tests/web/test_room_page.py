"""`/rooms/<id>/` without a browser: who sees what, paging, and posting by form."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from chat import marks, messages, rooms
from chat.models import Membership, Message, Room
from tests.people import person

pytestmark = pytest.mark.django_db


@pytest.fixture
def as_alice(client, alice):
    client.force_login(alice)
    return client


@pytest.fixture
def room(alice, bob):
    return rooms.create(alice, "open", "General", topic_line="What concerns all", members=[bob])


def say(user: Any, room: Room, body: str = "Hello", *, minutes_ago: int = 0) -> Message:
    message, _is_new = messages.post(user, room.pk, uuid.uuid4(), body)
    if minutes_ago:
        at = timezone.now() - timedelta(minutes=minutes_ago)
        Message.objects.filter(pk=message.pk).update(created_at=at)
    return message


def text(answer: Any) -> str:
    return str(answer.content.decode())


def shown(answer: Any) -> list[int]:
    """The ids of the messages in the list, from top to bottom."""
    return [
        int(found) for found in re.findall(r'<li class="message" data-id="(\d+)"', text(answer))
    ]


def firsts(answer: Any) -> list[int]:
    found = re.findall(r'<li class="message" data-id="(\d+)" data-first', text(answer))
    return [int(each) for each in found]


def test_the_newest_messages_are_shown_oldest_first(as_alice, alice, room):
    said = [say(alice, room, f"line {at}").pk for at in range(60)]
    answer = as_alice.get(f"/rooms/{room.pk}/")
    assert shown(answer) == said[10:]
    assert f"?before={said[10]}" in text(answer)


def test_pages_lead_up_and_down_again(as_alice, alice, room):
    said = [say(alice, room, f"line {at}").pk for at in range(60)]
    older = as_alice.get(f"/rooms/{room.pk}/", {"before": said[10]})
    assert shown(older) == said[:10]
    assert f"?after={said[9]}" in text(older)
    assert shown(as_alice.get(f"/rooms/{room.pk}/", {"after": said[9]})) == said[10:]


def test_a_message_has_an_address_of_its_own(as_alice, alice, room):
    said = [say(alice, room, f"line {at}").pk for at in range(120)]
    answer = as_alice.get(f"/rooms/{room.pk}/at/{said[30]}/")
    assert said[30] in shown(answer)
    assert re.search(rf'data-id="{said[30]}"[^>]* data-target', text(answer))
    assert f"?after={shown(answer)[-1]}" in text(answer)


@pytest.mark.parametrize("address", ["/rooms/1/at/999/", "/rooms/999/", f"/rooms/{10**30}/"])
def test_what_is_not_there_is_not_found(as_alice, address):
    assert as_alice.get(address).status_code == 404


def test_an_outsider_gets_the_answer_of_a_room_that_does_not_exist(client, alice, bob):
    room = rooms.create(alice, "closed", "Secret")
    message = say(alice, room, "nobody else's")
    client.force_login(bob)
    for address in (f"/rooms/{room.pk}/", f"/rooms/{room.pk}/at/{message.pk}/"):
        answer = client.get(address)
        absent = client.get(address.replace(str(room.pk), "99999", 1))
        assert answer.status_code == absent.status_code == 404
        assert "Secret" not in text(answer)
    form = {"body": "let me in", "client_id": str(uuid.uuid4())}
    assert client.post(f"/rooms/{room.pk}/post/", form).status_code == 404
    assert client.post(f"/rooms/{room.pk}/join/").status_code == 404
    assert Message.objects.count() == 1


def test_a_form_sent_twice_stores_one_message(as_alice, room):
    form = {"body": "Once", "client_id": str(uuid.uuid4())}
    for _again in range(2):
        answer = as_alice.post(f"/rooms/{room.pk}/post/", form)
        assert (answer.status_code, answer["Location"]) == (302, f"/rooms/{room.pk}/")
    assert Message.objects.filter(body="Once").count() == 1
    page = text(as_alice.get(f"/rooms/{room.pk}/"))
    assert form["client_id"] not in re.findall(r'name="client_id" value="([^"]+)"', page)


def test_what_can_not_be_posted_stays_in_the_composer(as_alice, alice, room):
    answer = as_alice.post(f"/rooms/{room.pk}/post/", {"body": "x" * 4001})
    assert answer.status_code == 422
    assert "x" * 4001 in text(answer)
    rooms.edit(room, alice, archived=True)
    answer = as_alice.post(f"/rooms/{room.pk}/post/", {"body": "Too late & lost?"})
    assert answer.status_code == 409
    assert "Too late &amp; lost?" in text(answer)
    assert "The room is archived: nothing new is said there." in text(answer)


def test_what_comes_too_fast_stays_in_the_composer(as_alice, room, monkeypatch):
    monkeypatch.setattr(messages, "POSTS_PER_MINUTE", 2)
    answers = [as_alice.post(f"/rooms/{room.pk}/post/", {"body": f"line {at}"}) for at in range(3)]
    assert [answer.status_code for answer in answers] == [302, 302, 429]
    assert "line 2</textarea>" in text(answers[-1])
    assert "Wait a moment and try again." in text(answers[-1])
    assert Message.objects.count() == 2


def test_an_archived_room_has_a_sentence_in_place_of_the_composer(as_alice, alice, room):
    rooms.edit(room, alice, archived=True)
    page = text(as_alice.get(f"/rooms/{room.pk}/"))
    assert re.search(r'class="composer"[^>]* hidden>', page)
    assert "This room is archived" in page


def test_who_only_looks_in_may_join(client, room):
    charlie = person("charlie")
    client.force_login(charlie)
    assert re.search(
        r'class="room-join"[^>]*data-slot="join">', text(client.get(f"/rooms/{room.pk}/"))
    )
    answer = client.post(f"/rooms/{room.pk}/join/")
    assert (answer.status_code, answer["Location"]) == (302, f"/rooms/{room.pk}/")
    assert Membership.objects.filter(room=room, user=charlie).exists()
    page = text(client.get(f"/rooms/{room.pk}/"))
    assert re.search(r'class="room-join"[^>]* hidden>', page)


def test_messages_are_grouped_by_author_and_minute(as_alice, alice, bob, room):
    said = [say(each, room).pk for each in (alice, alice, alice, bob, alice)]
    minute = timezone.now().replace(second=0, microsecond=0) - timedelta(minutes=10)
    for pk, seconds in zip(said, (0, 59.9, 60, 61, 62), strict=True):
        at = minute + timedelta(seconds=seconds)
        Message.objects.filter(pk=pk).update(created_at=at)
    answer = as_alice.get(f"/rooms/{room.pk}/")
    assert firsts(answer) == [said[0], *said[2:]]


def test_a_day_begins_under_its_name(as_alice, alice, room):
    say(alice, room, minutes_ago=48 * 60)
    say(alice, room, minutes_ago=24 * 60)
    say(alice, room)
    days = re.findall(
        r'<li class="talk-day"><span>([^<]+)', text(as_alice.get(f"/rooms/{room.pk}/"))
    )
    assert len(days) == 3
    assert days[1:] == ["Yesterday", "Today"]


def test_the_unread_line_stands_where_one_left_off(as_alice, alice, bob, room):
    last = say(bob, room, "seen")
    marks.read_messages(alice, room.pk, last.pk)
    say(alice, room, "mine")
    new = say(bob, room, "not seen")
    page = text(as_alice.get(f"/rooms/{room.pk}/"))
    line = page.index('class="talk-new"')
    assert page.index('data-slot="talk"') < page.index(">mine<") < line
    assert line < page.index(f'data-id="{new.pk}"')
    marks.read_messages(alice, room.pk, new.pk)
    assert 'class="talk-new"' not in text(as_alice.get(f"/rooms/{room.pk}/"))


def test_what_began_further_up_is_said_above(as_alice, alice, bob, room):
    seen = say(alice, room, "seen")
    marks.read_messages(alice, room.pk, seen.pk)
    said = [say(bob, room, f"line {at}").pk for at in range(70)]
    assert f'href="?after={seen.pk}"' in text(as_alice.get(f"/rooms/{room.pk}/"))
    answer = as_alice.get(f"/rooms/{room.pk}/", {"after": seen.pk})
    assert shown(answer)[0] == said[0]


def test_the_unread_line_stands_at_its_true_place_or_nowhere(as_alice, alice, bob, room):
    seen = say(bob, room, "seen")
    marks.read_messages(alice, room.pk, seen.pk)
    say(alice, room, "mine")
    messages.delete(bob, room.pk, say(bob, room, "unsaid").pk)
    elsewhere = rooms.create(bob, "open", "Elsewhere")
    say(bob, elsewhere)
    said = [say(bob, room, f"line {at}").pk for at in range(70)]
    newest = as_alice.get(f"/rooms/{room.pk}/")
    assert 'class="talk-new"' not in text(newest)
    assert newest.context["data"]["unread_from"] == said[0]
    address = f"?after={said[0] - 1}"
    assert f'data-slot="above"><a href="{address}">' in text(newest)
    for answer in (
        as_alice.get(f"/rooms/{room.pk}/{address}"),
        as_alice.get(f"/rooms/{room.pk}/", {"before": said[10]}),
    ):
        page = text(answer)
        assert 'data-slot="above" hidden>' in page
        line = page.index('class="talk-new"')
        assert line < page.index(f'data-id="{said[0]}"')
        assert all(page.index(f'data-id="{pk}"') < line for pk in shown(answer) if pk < said[0])
    end = as_alice.get(f"/rooms/{room.pk}/", {"after": said[40]})
    assert 'class="talk-new"' not in text(end)


def test_what_began_with_the_very_first_message_is_said_above(as_alice, alice, bob, room):
    said = [say(bob, room, f"line {at}").pk for at in range(70)]
    Message.objects.filter(pk=said[0]).delete()
    Message.objects.create(pk=1, room=room, author=bob, client_id=uuid.uuid4(), body="first")
    page = text(as_alice.get(f"/rooms/{room.pk}/"))
    assert 'data-slot="above"><a href="?after=0">' in page


def test_looking_at_a_page_marks_nothing_read(as_alice, alice, bob, room):
    say(bob, room)
    as_alice.get(f"/rooms/{room.pk}/")
    assert rooms.item(room, alice)["unread"] == 1


def test_a_direct_room_is_called_after_its_other_people(as_alice, alice, bob):
    room, _is_new = rooms.direct(alice, [bob, person("charlie")])
    assert ">bob, charlie</h1>" in text(as_alice.get(f"/rooms/{room.pk}/"))


def test_a_deleted_message_leaves_a_trace_without_its_text(as_alice, alice, room):
    message = say(alice, room, "Unsaid")
    messages.delete(alice, room.pk, message.pk)
    page = text(as_alice.get(f"/rooms/{room.pk}/"))
    assert "Unsaid" not in page
    assert "This message was deleted." in page


def test_text_from_outside_is_shown_as_text(as_alice, alice, room):
    nasty = "</script><img src=x onerror=alert(1)>"
    rooms.edit(room, alice, name=nasty, topic_line=nasty)
    alice.first_name = nasty
    alice.save()
    say(alice, room, nasty)
    page = text(as_alice.get(f"/rooms/{room.pk}/"))
    assert "<img" not in page
    assert "</script><" not in page


def test_a_room_costs_a_fixed_number_of_queries(
    as_alice, alice, bob, room, django_assert_max_num_queries
):
    for at in range(60):
        say(alice if at % 3 else bob, room, f"@bob line {at}")
    for at in range(20):
        rooms.join(room, person(f"somebody{at}"))
    as_alice.get(f"/rooms/{room.pk}/")  # what is made once
    with django_assert_max_num_queries(32) as few:
        as_alice.get(f"/rooms/{room.pk}/")
    lonely = rooms.create(alice, "open", "Lonely")
    say(bob, lonely, "@alice")
    with django_assert_max_num_queries(32) as fewer:
        as_alice.get(f"/rooms/{lonely.pk}/")
    assert len(few) == len(fewer)
