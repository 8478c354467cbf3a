"""`/me`, `/events`, `/presence`."""

from __future__ import annotations

from typing import Annotated, Any, Final

from django.http import HttpRequest
from ninja import Query, Router, Schema, Status
from pydantic import BaseModel, ConfigDict, Field

from accounts import audience, idempotency, profiles, throttle
from accounts.api_auth import Authenticated, account, caller
from accounts.errors import ApiError, forbidden
from events import log, publish
from events.publishing import TYPE

router = Router(tags=["hub"])

EVENTS_PER_MINUTE: Final = 3000
OWN_PREFIXES: Final = frozenset(
    {"notification", "announcement", "job", "message", "room", "member", "presence", "hub"}
)
_BIGGEST: Final = 2**63 - 1

Key = Annotated[str, Field(min_length=1, max_length=200)]
Topic = Annotated[str, Field(min_length=1, max_length=100)]


class Person(Schema):
    id: int
    name: str
    username: str


class Me(BaseModel):
    """A plain model: ninja's own drops what is not declared, and features above add members."""

    model_config = ConfigDict(extra="allow")

    user: Person
    topics: list[str]
    unread: int = 0
    cursor: str


class NewEvent(Schema):
    topic: Topic
    type: Annotated[str, Field(max_length=100, pattern=f"^{TYPE.pattern}$")]
    data: dict[str, Any]
    key: Key | None = None


class Published(Schema):
    topic: str
    key: str | None


class Event(Schema):
    topic: str
    offset: int
    type: str
    data: dict[str, Any]
    at: str


class EventPage(Schema):
    items: list[Event]
    next: int | None
    cursor: str


class PersonHere(Schema):
    id: int
    name: str
    since: str
    away: bool


class PeopleHere(Schema):
    people: list[PersonHere]


@router.get("/me", auth=Authenticated("read"), response=Me)
def me(request: HttpRequest) -> Me:
    """Who I am, what I read, what waits for me."""
    topics = audience.default_topics(caller(request).user_id)
    cursor = log.cursor(topics)
    return Me(
        user=Person(**profiles.person(account(request))),
        topics=topics,
        cursor=cursor,
        **profiles.me_parts(account(request)),
    )


@router.post("/events", auth=Authenticated("publish", "admin"), response={201: Published})
def publish_event(request: HttpRequest, event: NewEvent) -> Status[Any]:
    """Publish to a group or a team. The same `key` again publishes nothing and gets the first answer."""
    credential = caller(request)
    throttle.limit(credential, "events", EVENTS_PER_MINUTE, reason="publish_rate")
    if event.type.partition(".")[0] in OWN_PREFIXES:
        raise ApiError(
            422,
            "This type is the hub's own.",
            fields={"type": "begins with a word of the hub's own"},
        )
    if not audience.may_publish(credential, event.topic):
        raise forbidden("You may not publish to this topic, or it does not exist.")

    def make() -> tuple[int, Any]:
        publish(event.topic, event.type, event.data)
        return 201, {"topic": event.topic, "key": event.key}

    return Status(*idempotency.once(credential.user_id, "events", event.key, make))


@router.get("/events", auth=Authenticated("read"), response=EventPage)
def list_events(
    request: HttpRequest,
    topic: Annotated[str, Query(max_length=100)] = "",
    before: Annotated[int | None, Query(ge=1, le=_BIGGEST)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> dict[str, Any]:
    """A page of one topic's log, newest first; without `topic` the newest of everything that `/me` lists."""
    if topic:
        if not audience.may_read(caller(request).user_id, topic):
            raise forbidden("You may not read this topic, or it does not exist.")
        cursor = log.cursor([topic])
        events = log.page(topic, before, limit)
        following = events[-1].offset if len(events) == limit else None
    else:
        topics = audience.default_topics(caller(request).user_id)
        cursor = log.cursor(topics)
        events, following = log.newest(topics, limit), None
    return {"items": [event.as_dict() for event in events], "next": following, "cursor": cursor}


@router.get("/presence", auth=Authenticated("read"), response=PeopleHere)
def list_presence(
    request: HttpRequest, topic: Annotated[str, Query(max_length=100)]
) -> dict[str, Any]:
    """Who looks at this topic right now; nobody when that is not known."""
    if not audience.may_read(caller(request).user_id, topic):
        raise forbidden("You may not read this topic, or it does not exist.")
    return {"people": profiles.here(topic)}
