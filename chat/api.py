"""`/rooms`, `/search`, `/people`."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any, Final

from django.contrib.auth import get_user_model
from django.contrib.auth.models import User
from django.http import HttpRequest
from ninja import Path, Query, Router, Schema, Status
from pydantic import Field

from accounts import idempotency, throttle
from accounts.api import Key, Person
from accounts.api_auth import Authenticated, account, caller
from accounts.errors import ApiError, forbidden, not_found
from chat import marks, messages, people, rooms
from chat.errors import InvalidChat, NoSuchMessage, NoSuchRoom, NotAllowed, NotPossible
from chat.models import Involvement, Kind
from chat.search import PAGE as HITS
from chat.search import PAGE_MAX as HITS_MAX
from chat.search import search
from events import log, topics

router = Router(tags=["rooms"])

CHANGES_PER_MINUTE: Final = 600
"""Of rooms, members and read marks; posts have their own bucket."""
ROOMS: Final = 100
"""Of one page; and of one's own, those whose positions its cursor has."""
_BIGGEST: Final = 2**63 - 1

RoomId = Annotated[int, Path(le=_BIGGEST)]
MessageId = Annotated[int, Path(le=_BIGGEST)]
Username = Annotated[str, Path(max_length=150, pattern=r"^[^\x00]*$")]
MessagePlace = Annotated[int | None, Query(ge=1, le=_BIGGEST)]
Names = Annotated[list[str], Field(max_length=rooms.MEMBERS_AT_ONCE)]


class _AnyRoom(Schema):
    id: int
    kind: Kind
    name: str
    topic_line: str
    owner: Person | None
    unread: int
    archived: bool
    mentions: int
    joined: bool
    involvement: Involvement | None
    read_up_to: int
    last_message: int
    at: str
    active_at: Annotated[str, Field(description="Of the newest message, else as `at`.")]


class RoomItem(_AnyRoom):
    members: list[Person]


class RoomDetail(RoomItem):
    cursor: str


class ListedRoom(_AnyRoom):
    members: Annotated[
        list[Person] | None, Field(description="Null of a room with more than twenty.")
    ]
    member_count: int


class RoomPage(Schema):
    items: list[ListedRoom]
    next: str | None
    cursor: str


class NewRoom(Schema):
    kind: Kind
    name: str = ""
    topic_line: str = ""
    members: Names = []
    key: Key | None = None


class RoomEdit(Schema):
    """What is left out stays as it is."""

    name: str = ""
    topic_line: str = ""
    kind: str = ""
    archived: bool = False
    owner: Annotated[
        str, Field(description="The username of a member, who is handed the room.")
    ] = ""


class Choice(Schema):
    value: Involvement


class UpTo(Schema):
    up_to: Annotated[int, Field(ge=0, le=_BIGGEST)]


class Marks(Schema):
    unread: int
    mentions: int
    read_up_to: int


class MessageItem(Schema):
    id: int
    room: int
    author: Person | None
    body: str
    html: str
    mentions: list[int]
    client_id: str
    at: str
    edited_at: str | None
    deleted: bool


class MessagePage(Schema):
    items: list[MessageItem]
    next: int | None
    newer: int | None
    cursor: str


class NewMessage(Schema):
    client_id: uuid.UUID
    body: str


class MessageEdit(Schema):
    body: str


class HitItem(MessageItem):
    room_name: str
    snippet: str
    ranges: list[tuple[int, int]]


class HitPage(Schema):
    items: list[HitItem]
    next: int | None


class PeopleList(Schema):
    items: list[Person]


# --- Rooms -------------------------------------------------------------------------------------------------------


@router.get("/rooms", auth=Authenticated("read"), response=RoomPage)
def list_rooms(
    request: HttpRequest,
    joined: bool | None = None,
    limit: Annotated[int, Query(ge=1, le=ROOMS)] = ROOMS,
    before: Annotated[str, Query(pattern=r"^([0-9]{1,18}-[0-9]{1,18})?$")] = "",
) -> dict[str, Any]:
    """The rooms that the caller may read, the last active first; `joined` keeps one's own, or the others."""
    user = account(request)
    mine, _following = rooms.page(user, joined=True, limit=ROOMS)
    heard = [topics.room(room.pk) for room in mine]
    cursor = log.cursor([topics.user(user.pk), topics.DASHBOARD, *heard])
    found, following = rooms.page(user, joined=joined, limit=limit, before=before)
    return {"items": rooms.listed(found, user), "next": following, "cursor": cursor}


@router.post("/rooms", auth=Authenticated("chat"), response={200: RoomItem, 201: RoomItem})
def create_room(request: HttpRequest, new: NewRoom) -> Status[Any]:
    """Open, closed or direct. The same people have one direct room: it is answered with 200 when it is there already."""
    user = account(request)
    throttle.limit(caller(request), "rooms", CHANGES_PER_MINUTE)

    def make() -> tuple[int, Any]:
        members = _people(new.members)
        if new.kind == Kind.DIRECT:
            room, is_new = rooms.direct(user, members)
        else:
            room, is_new = rooms.create(user, new.kind, new.name, new.topic_line, members), True
        return 201 if is_new else 200, rooms.item(room, user)

    with _answers():
        return Status(*idempotency.once(user.pk, "rooms", new.key, make))


@router.get("/rooms/{int:room_id}", auth=Authenticated("read"), response=RoomDetail)
def read_room(request: HttpRequest, room_id: RoomId) -> dict[str, Any]:
    user = account(request)
    cursor = log.cursor([topics.room(room_id), topics.user(user.pk)])
    with _answers():
        return {**rooms.item(rooms.find(user, room_id), user), "cursor": cursor}


@router.patch("/rooms/{int:room_id}", auth=Authenticated("chat"), response=RoomItem)
def edit_room(request: HttpRequest, room_id: RoomId, change: RoomEdit) -> dict[str, Any]:
    """Rename, archive, open or close, hand over: its owner and superusers may."""
    user = account(request)
    throttle.limit(caller(request), "rooms", CHANGES_PER_MINUTE)
    with _answers(), rooms.managed(user, room_id) as room:
        given: dict[str, Any] = change.dict(exclude_unset=True)
        if "owner" in given:
            (given["owner"],) = _people([given["owner"]], "owner")
        return rooms.item(rooms.edit(room, user, **given), user)


@router.delete("/rooms/{int:room_id}", auth=Authenticated("chat"), response={204: None})
def delete_room(request: HttpRequest, room_id: RoomId) -> Status[None]:
    """For good, with everything said there: its owner and superusers may."""
    throttle.limit(caller(request), "rooms", CHANGES_PER_MINUTE)
    with _answers(), rooms.managed(account(request), room_id) as room:
        rooms.delete(room)
    return Status(204, None)


@router.put(
    "/rooms/{int:room_id}/members/{username}", auth=Authenticated("chat"), response=RoomItem
)
def add_member(request: HttpRequest, room_id: RoomId, username: Username) -> dict[str, Any]:
    """Join an open room oneself, or invite somebody: its owner and superusers may."""
    user = account(request)
    throttle.limit(caller(request), "rooms", CHANGES_PER_MINUTE)
    with _answers():
        mine = rooms.readable_by(user).filter(pk=room_id).first()
        if mine is not None and username == user.get_username():
            rooms.join(mine, user)
            return rooms.item(mine, user)
        with rooms.managed(user, room_id) as room:
            rooms.invite(room, _people([username], "username"), by=user)
            return rooms.item(room, user)


@router.delete(
    "/rooms/{int:room_id}/members/{username}", auth=Authenticated("chat"), response={204: None}
)
def remove_member(request: HttpRequest, room_id: RoomId, username: Username) -> Status[None]:
    """Leave oneself, or take somebody out: its owner and superusers may."""
    user = account(request)
    throttle.limit(caller(request), "rooms", CHANGES_PER_MINUTE)
    with _answers():
        if username == user.get_username():
            rooms.remove(rooms.find(user, room_id), user, by=user)
        else:
            with rooms.managed(user, room_id) as room:
                for person in get_user_model()._default_manager.filter(username=username):
                    rooms.remove(room, person, by=user)
    return Status(204, None)


@router.put("/rooms/{int:room_id}/involvement", auth=Authenticated("chat"), response=RoomItem)
def involve(request: HttpRequest, room_id: RoomId, choice: Choice) -> dict[str, Any]:
    """What the caller, a member, is told of the room: everything, mentions or nothing."""
    user = account(request)
    throttle.limit(caller(request), "rooms", CHANGES_PER_MINUTE)
    with _answers():
        room = rooms.find(user, room_id)
        rooms.involve(room, user, choice.value)
        return rooms.item(room, user)


@router.post("/rooms/{int:room_id}/read", auth=Authenticated("chat"), response=Marks)
def read_up_to(request: HttpRequest, room_id: RoomId, mark: UpTo) -> dict[str, Any]:
    """The caller has read up to this message; a mark never goes back."""
    throttle.limit(caller(request), "rooms", CHANGES_PER_MINUTE)
    with _answers():
        return marks.read_messages(account(request), room_id, mark.up_to)


# --- Messages ----------------------------------------------------------------------------------------------------


@router.get("/rooms/{int:room_id}/messages", auth=Authenticated("read"), response=MessagePage)
def list_messages(
    request: HttpRequest,
    room_id: RoomId,
    before: MessagePlace = None,
    after: MessagePlace = None,
    around: MessagePlace = None,
    limit: Annotated[int, Query(ge=1, le=messages.PAGE_MAX)] = messages.PAGE,
) -> dict[str, Any]:
    """Newest first: the newest, those next to a message in one direction, or a message amid its neighbours.

    `next` is the `before` of the following page, `newer` the `after` of the one above.
    """
    places = {"before": before, "after": after, "around": around}
    given = [name for name, place in places.items() if place is not None]
    if len(given) > 1:
        fields = dict.fromkeys(given, "give one of before, after and around")
        raise ApiError(422, f"Not accepted: {', '.join(given)}.", fields=fields)
    cursor = log.cursor([topics.room(room_id)])
    with _answers():
        room = rooms.find(account(request), room_id)
        if around is not None:
            page = messages.around(room, around, limit)
        else:
            page = messages.page(room, before=before, after=after, limit=limit)
    return {"items": page.items, "next": page.older, "newer": page.newer, "cursor": cursor}


@router.post(
    "/rooms/{int:room_id}/messages",
    auth=Authenticated("chat"),
    response={200: MessageItem, 201: MessageItem},
)
def post_message(request: HttpRequest, room_id: RoomId, new: NewMessage) -> Status[Any]:
    """The same `client_id` again stores nothing, and gets the first message with 200."""
    throttle.limit(caller(request), messages.POSTS, messages.POSTS_PER_MINUTE)
    with _answers():
        message, is_new = messages.post(account(request), room_id, new.client_id, new.body)
    return Status(201 if is_new else 200, messages.item(message))


@router.patch(
    "/rooms/{int:room_id}/messages/{int:message_id}",
    auth=Authenticated("chat"),
    response=MessageItem,
)
def edit_message(
    request: HttpRequest, room_id: RoomId, message_id: MessageId, change: MessageEdit
) -> dict[str, Any]:
    """Its author may."""
    throttle.limit(caller(request), messages.POSTS, messages.POSTS_PER_MINUTE)
    with _answers():
        return messages.item(messages.edit(account(request), room_id, message_id, change.body))


@router.delete(
    "/rooms/{int:room_id}/messages/{int:message_id}",
    auth=Authenticated("chat"),
    response=MessageItem,
)
def delete_message(request: HttpRequest, room_id: RoomId, message_id: MessageId) -> dict[str, Any]:
    """Leaves a trace without the text: its author, the room's owner and superusers may."""
    throttle.limit(caller(request), messages.POSTS, messages.POSTS_PER_MINUTE)
    with _answers():
        return messages.item(messages.delete(account(request), room_id, message_id))


# --- Finding -----------------------------------------------------------------------------------------------------


@router.get("/search", auth=Authenticated("read"), response=HitPage)
def search_messages(
    request: HttpRequest,
    q: Annotated[str, Query(max_length=1000, pattern=r"^[^\x00]*$")],
    room: Annotated[int | None, Query(ge=1, le=_BIGGEST)] = None,
    before: MessagePlace = None,
    limit: Annotated[int, Query(ge=1, le=HITS_MAX)] = HITS,
) -> dict[str, Any]:
    """Messages of the rooms that the caller may read, newest first; `ranges` say where in `snippet` the words stand."""
    with _answers():
        found = search(account(request), q, room, limit, before)
    return {"items": found.items, "next": found.next}


@router.get("/people", auth=Authenticated("read"), response=PeopleList)
def list_people(
    request: HttpRequest,
    q: Annotated[str, Query(max_length=150, pattern=r"^[^\x00]*$")] = "",
    room: Annotated[int | None, Query(ge=1, le=_BIGGEST)] = None,
    limit: Annotated[int, Query(ge=1, le=people.MOST)] = people.MOST,
) -> dict[str, Any]:
    """Active staff by a part of their name, for whoever mentions or invites; with `room` its readers alone."""
    with _answers():
        within = None if room is None else rooms.find(account(request), room)
    return {"items": people.named(q, within, limit)}


@contextmanager
def _answers() -> Iterator[None]:
    """What the verbs raise, as the API says it."""
    try:
        yield
    except (NoSuchRoom, NoSuchMessage):
        raise not_found() from None
    except NotAllowed as error:
        raise forbidden(str(error)) from None
    except NotPossible as error:
        raise ApiError(409, str(error)) from None
    except InvalidChat as error:
        detail = f"Not accepted: {error.field}."
        raise ApiError(422, detail, fields={error.field: error.detail}) from None


def _people(usernames: Sequence[str], field: str = "members") -> list[User]:
    """Raises ApiError that names who is unknown."""
    found = people.by_username(usernames)
    unknown = sorted(set(usernames).difference(found))
    if unknown:
        names = ", ".join(unknown[:10])
        raise ApiError(422, f"Not accepted: {field}.", fields={field: f"nobody is called {names}"})
    return list(found.values())
