"""E103: everybody gets what the rights say from every route and command, and of what is somebody else's not even
that it is there."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.contrib.contenttypes.models import ContentType
from django.db import connection, transaction
from django.db.models import Max
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts import access
from accounts.authenticate import make_key
from accounts.models import ApiKey, SignIn
from chat import messages, rooms
from chat.models import Message, Room
from events import redis_client, topics
from hub.api import api
from notifications import announcements, notify
from notifications.models import Announcement, Notification
from tasks import external, files
from tasks.models import File, Job
from tests.faults.conftest import Report
from tests.live import session_of
from tests.people import person

# --- what may come back ---------------------------------------------------------------------------------------------

OUT: Final = "sign in first"
DENIED: Final = "you may not"
ABSENT: Final = "there is no such thing"
DONE: Final = "done"
"""Or refused for what was sent, by somebody who may see and do it."""

# --- who asks, and what there is ------------------------------------------------------------------------------------

PEOPLE: Final = ("nobody", "stranger", "alice", "announcer", "admin")
"""A stranger has an account and is no staff of the hub. alice owns "own", "group" is shared with her, "other" is zoe's."""
KEYS: Final = {
    "read key": ("alice", ["read"]),
    "publish key": ("alice", ["publish"]),
    "jobs key": ("alice", ["jobs"]),
    "chat key": ("alice", ["chat"]),
    "admin key": ("admin", ["admin"]),
    "revoked key": ("alice", None),
}
NO_JOB: Final = "0f8fad5b-d9cb-469f-a165-70867728950e"
NUMBER: Final = "987654"

Rule = Callable[[str, str], str]
"""Of a person and an instance, what comes back to whoever has the scope."""


def anybody(who: str, which: str) -> str:
    return DONE


def _table(**rows: str) -> Rule:
    """`alice="own group"`: the instances of which each may see and do this; `alice_sees`: those that they only see."""

    def rule(who: str, which: str) -> str:
        if which in rows.get(who, "").split():
            return DONE
        return DENIED if which in rows.get(f"{who}_sees", "").split() else ABSENT

    return rule


OWN = _table(alice="own")
JOB = _table(alice="own", admin="own other")
ROOM = _table(alice="own group open direct", announcer="open", admin="open")
MANAGE = _table(
    alice="own", alice_sees="group open direct", announcer_sees="open", admin="own group open direct other"
)  # fmt: skip
JOIN = _table(
    alice="own open", alice_sees="group direct", announcer="open", admin="own group open direct other"
)  # fmt: skip
MEMBER = _table(alice="own group direct")
TEAM = _table(alice="own", admin="own other")
NOTICE = _table(announcer="public", admin="public own other")
EDIT = _table(alice="own", alice_sees="group answered")
ERASE = _table(alice="own answered", alice_sees="group", admin="own group other answered")
START = _table(alice="anyone", announcer="anyone", admin="anyone admins")


def announcing(who: str, which: str) -> str:
    return DONE if who in {"announcer", "admin"} else DENIED


def leaving(who: str, which: str) -> str:
    return OUT


def noticing(who: str, which: str) -> str:
    """Who may not announce is told so whatever is asked for."""
    return NOTICE(who, which) if who in {"announcer", "admin"} else DENIED


def publishing(who: str, which: str) -> str:
    """To a topic: what cannot be read cannot be written, and "may not" is the only answer there is."""
    return DONE if which == "group" or (which == "dashboard" and who == "admin") else DENIED


@dataclass(frozen=True)
class Asked:
    """`subject` names what the `ID` of the route stands for; "" where it names nothing."""

    rule: Rule
    scopes: str = ""
    subject: str = ""
    body: str = ""
    query: str = ""
    denied: str = ABSENT
    """What "there is no such thing" looks like here: some routes answer 403 to both."""


def read(rule: Rule = anybody, subject: str = "", **more: Any) -> Asked:
    return Asked(rule, "read", subject, **more)


def chat(rule: Rule, body: str = "", subject: str = "room") -> Asked:
    return Asked(rule, "chat", subject, body)


def steer(rule: Rule = JOB, body: str = "", subject: str = "job") -> Asked:
    return Asked(rule, "jobs", subject, body)


SAY: Final = '{"client_id": "0f8fad5b-d9cb-469f-a165-70867728950e", "body": "hello"}'
LETTER: Final = '{"to": {"users": ["zoe"]}, "kind": "orders.late", "title": "Late"}'
EVENT: Final = '{"topic": "ID", "type": "order.late", "data": {}}'
START_BODY: Final = '{"task": "ID", "args": {"shelves": 1}}'

# The reviewed table: the rights of docs/protocol.md, one line an operation.
OPERATIONS: Final[dict[tuple[str, str], Asked]] = {
    ("GET", "me"): read(),
    ("GET", "dashboard"): read(),
    ("POST", "events"): Asked(publishing, "publish admin", "published", EVENT, denied=DENIED),
    ("GET", "events"): read(TEAM, "team topic", query="topic=ID", denied=DENIED),
    ("GET", "presence"): read(TEAM, "team topic", query="topic=ID", denied=DENIED),
    ("POST", "notifications"): Asked(anybody, "publish", body=LETTER),
    ("GET", "inbox"): read(),
    ("POST", "inbox/read"): read(body='{"up_to": 1}'),
    ("PATCH", "inbox/{notification_id}"): read(OWN, "notification", body='{"read": true}'),
    ("GET", "announcements"): read(TEAM, "team topic", query="topic=ID", denied=DENIED),
    ("POST", "announcements"): Asked(announcing, "publish", body='{"title": "Closed"}'),
    ("PATCH", "announcements/{announcement_id}"): Asked(noticing, "publish", "announcement", '{"title": "Closed"}'),
    ("DELETE", "announcements/{announcement_id}"): Asked(noticing, "publish", "announcement"),
    ("GET", "tasks"): read(),
    ("GET", "jobs"): read(),
    ("POST", "jobs"): steer(START, START_BODY, "task"),
    ("GET", "jobs/{job_id}"): read(JOB, "job"),
    ("POST", "jobs/{job_id}/cancel"): steer(),
    ("POST", "jobs/{job_id}/retry"): steer(),
    ("GET", "jobs/{job_id}/log"): read(JOB, "job"),
    ("GET", "jobs/{job_id}/files/{file_id}"): read(JOB, "file"),
    ("POST", "jobs/external"): steer(anybody, '{"title": "Backup"}', ""),
    **{
        ("POST", f"jobs/{place}{{job_id}}/{verb}"): steer(JOB, body)
        for place in ("", "external/")
        for verb, body in (
            ("progress", '{"done": 1}'), ("log", '{"text": "x"}'), ("heartbeat", ""), ("finish", '{"ok": true}'),
        )
    },
    ("GET", "rooms"): read(),
    ("POST", "rooms"): chat(anybody, '{"kind": "closed", "name": "Another"}', ""),
    ("GET", "rooms/{room_id}"): read(ROOM, "room"),
    ("PATCH", "rooms/{room_id}"): chat(MANAGE, '{"name": "Other"}'),
    ("DELETE", "rooms/{room_id}"): chat(MANAGE),
    ("PUT", "rooms/{room_id}/members/{username}"): chat(MANAGE),
    ("DELETE", "rooms/{room_id}/members/{username}"): chat(MANAGE),
    ("PUT", "rooms/{room_id}/involvement"): chat(MEMBER, '{"value": "nothing"}'),
    ("POST", "rooms/{room_id}/read"): chat(ROOM, '{"up_to": 1}'),
    ("GET", "rooms/{room_id}/messages"): read(ROOM, "room"),
    ("POST", "rooms/{room_id}/messages"): chat(ROOM, SAY),
    ("PATCH", "rooms/{room_id}/messages/{message_id}"): chat(EDIT, '{"body": "x"}', "message"),
    ("DELETE", "rooms/{room_id}/messages/{message_id}"): chat(ERASE, "", "message"),
    ("GET", "search"): read(ROOM, "room", query="q=x&room=ID"),
    ("GET", "people"): read(ROOM, "room", query="room=ID"),
}  # fmt: skip

STEER_PAGE = _table(
    alice="own", alice_sees="group open direct", announcer_sees="open", admin="open"
)
"""As MANAGE, but a page shows nobody a room that they don't read."""
PAGE = Asked(anybody)
OPEN = Asked(anybody, "public")
PAGES: Final[dict[tuple[str, str], Asked]] = {
    ("GET", ""): PAGE,
    ("GET", "wall/"): PAGE,
    ("GET", "inbox/"): PAGE,
    ("POST", "inbox/read/"): Asked(anybody, body="up_to=1"),
    ("GET", "inbox/{notification_id}/"): Asked(OWN, subject="notification"),
    ("POST", "inbox/{notification_id}/mark/"): Asked(OWN, subject="notification", body="read=1"),
    ("GET", "jobs/"): PAGE,
    ("GET", "jobs/start/{name}/"): Asked(START, subject="task"),
    ("POST", "jobs/start/{name}/"): Asked(START, subject="task", body="shelves=1"),
    ("GET", "jobs/{job_id}/"): Asked(JOB, subject="job"),
    ("GET", "jobs/{job_id}/cancel/"): Asked(JOB, subject="job"),
    ("POST", "jobs/{job_id}/cancel/"): Asked(JOB, subject="job", body="x=1"),
    ("POST", "jobs/{job_id}/retry/"): Asked(JOB, subject="job", body="x=1"),
    ("GET", "jobs/{job_id}/log.txt"): Asked(JOB, subject="job"),
    ("GET", "jobs/{job_id}/files/{file_id}/"): Asked(JOB, subject="file"),
    ("GET", "rooms/"): PAGE,
    ("GET", "rooms/new/"): PAGE,
    ("POST", "rooms/new/"): Asked(anybody, body="kind=closed&name=Another"),
    ("GET", "rooms/direct/"): PAGE,
    ("POST", "rooms/direct/"): Asked(anybody, body="members=zoe"),
    ("GET", "rooms/search/"): Asked(ROOM, subject="room", query="q=x&room=ID"),
    ("GET", "rooms/emoji.json"): OPEN,
    ("GET", "rooms/{room_id}/"): Asked(ROOM, subject="room"),
    ("GET", "rooms/{room_id}/at/{message_id}/"): Asked(_table(alice="own group answered"), subject="message"),
    ("POST", "rooms/{room_id}/post/"): Asked(ROOM, subject="room", body="body=hello"),
    ("POST", "rooms/{room_id}/join/"): Asked(ROOM, subject="room", body="x=1"),
    ("GET", "rooms/{room_id}/settings/"): Asked(ROOM, subject="room"),
    ("POST", "rooms/{room_id}/settings/"): Asked(STEER_PAGE, subject="room", body="archived=1"),
    ("POST", "rooms/{room_id}/involve/"): Asked(MEMBER, subject="room", body="involvement=nothing"),
    ("POST", "rooms/{room_id}/member/"): Asked(STEER_PAGE, subject="room", body="members=charlie"),
    ("GET", "rooms/{room_id}/leave/"): Asked(ROOM, subject="room"),
    ("POST", "rooms/{room_id}/leave/"): Asked(ROOM, subject="room", body="x=1"),
    ("GET", "rooms/{room_id}/delete/"): Asked(STEER_PAGE, subject="room"),
    ("POST", "rooms/{room_id}/delete/"): Asked(STEER_PAGE, subject="room", body="x=1"),
    ("GET", "announcements/"): PAGE,
    ("POST", "announcements/"): Asked(announcing, body="title=Closed&level=info"),
    ("GET", "announcements/{announcement_id}/edit/"): Asked(NOTICE, subject="announcement"),
    ("POST", "announcements/{announcement_id}/edit/"): Asked(NOTICE, subject="announcement", body="title=Closed&level=info"),
    ("GET", "announcements/{announcement_id}/delete/"): Asked(NOTICE, subject="announcement"),
    ("POST", "announcements/{announcement_id}/delete/"): Asked(NOTICE, subject="announcement", body="x=1"),
    ("GET", "settings/"): PAGE,
    ("POST", "settings/"): Asked(anybody, body="display_name=Me"),
    ("POST", "settings/sessions/{signin_id}/end/"): Asked(OWN, subject="session", body="x=1"),
    ("GET", "settings/keys/"): PAGE,
    ("POST", "settings/keys/"): Asked(anybody, body="name=k&scopes=read"),
    ("POST", "settings/keys/{key_id}/revoke/"): Asked(OWN, subject="key", body="x=1"),
    ("GET", "connection/"): PAGE,
    ("POST", "connection/ping/"): Asked(anybody, body="run=a&sent_at=1"),
    ("GET", "words.js"): OPEN,
    ("GET", "accounts/login/"): OPEN,
    ("POST", "accounts/login/"): OPEN,
    ("POST", "accounts/logout/"): Asked(leaving),
    ("POST", "accounts/language/"): OPEN,
    ("GET", "accounts/password/change/"): PAGE,
    ("POST", "accounts/password/change/"): PAGE,
    ("GET", "accounts/password/change/done/"): PAGE,
    ("GET", "accounts/password/reset/"): OPEN,
    ("POST", "accounts/password/reset/"): OPEN,
    ("GET", "accounts/password/reset/done/"): OPEN,
    ("GET", "accounts/password/reset/{uidb64}/{token}/"): OPEN,
    ("POST", "accounts/password/reset/{uidb64}/{token}/"): OPEN,
    ("GET", "accounts/password/reset/complete/"): OPEN,
    ("GET", "favicon.ico"): OPEN,
    ("GET", "api/v1/docs"): OPEN,
    ("GET", "api/v1/openapi.json"): OPEN,
}  # fmt: skip

ANY_METHOD: Final = {
    "accounts/language/", "accounts/password/reset/{uidb64}/{token}/", "favicon.ico", "api/v1/docs", "api/v1/openapi.json",
}  # fmt: skip
"""Answer to every method what they answer to one."""
NEVER: Final = {
    "accounts/setup/",  # there is an administrator already
    "api/v1/", "api/",  # answer 404 to everything
}  # fmt: skip


# --- the world ------------------------------------------------------------------------------------------------------


def not_the_stranger(user: User) -> bool:
    return not user.username.startswith("stranger")


def long_numbers() -> None:
    """From here on ids have six digits, so that they are found in an answer."""
    start = 710_001
    with connection.cursor() as cursor:
        for model in (User, Group, Notification, Announcement, Room, Message, SignIn, ApiKey, File):
            table, start = model._meta.db_table, start + 10_000
            newest = model._default_manager.aggregate(at=Max("pk"))["at"] or 0
            at = max(start, newest)
            if connection.vendor == "sqlite":
                cursor.execute("DELETE FROM sqlite_sequence WHERE name = %s", [table])
                cursor.execute("INSERT INTO sqlite_sequence VALUES (%s, %s)", [table, at])
            else:
                cursor.execute("SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", [table, at])


@dataclass(frozen=True)
class World:
    people: dict[str, User]
    things: dict[str, dict[str, str]]
    """By subject and instance: what stands for ID, as `value`, or `value/value` where a route names two."""


def world(make: Callable[..., User]) -> World:
    alice, announcer, zoe = make("alice"), make("announcer"), make("zoe")
    admin = make("admin", is_superuser=True, is_staff=True)
    people = {"alice": alice, "announcer": announcer, "zoe": zoe, "admin": admin}
    announcer.user_permissions.add(
        *Permission.objects.filter(content_type__app_label="hub_notifications")
    )
    ours, theirs = (Group.objects.create(name=f"{one} {alice.username}") for one in ("A", "B"))
    alice.groups.add(ours)
    zoe.groups.add(theirs)
    scripts = {"own": external.start(alice, "Backup"), "other": external.start(zoe, "Backup")}
    reports = {which: _report(job) for which, job in scripts.items()}
    closed = {
        "own": rooms.create(alice, "closed", "Den", members=[zoe]),
        "group": rooms.create(zoe, "closed", "Shared", members=[alice]),
        "other": rooms.create(zoe, "closed", "Attic"),
    }
    open_ = rooms.create(zoe, "open", "Hall")
    direct = rooms.direct(alice, [zoe])[0]
    said = {
        "own": _say(alice, closed["own"]),
        "group": _say(zoe, closed["group"]),
        "other": _say(zoe, closed["other"]),
    }
    notices = {
        "public": announcements.create(admin, "For everybody"),
        "own": announcements.create(admin, "For the team", team=ours),
        "other": announcements.create(admin, "For the other team", team=theirs),
    }
    everything = {
        "notification": {"own": _letter(alice), "other": _letter(zoe)},
        "announcement": {which: str(one.pk) for which, one in notices.items()},
        "job": {which: str(job.pk) for which, job in scripts.items()},
        "file": {which: f"{scripts[which].pk}/{pk}" for which, pk in reports.items()},
        "task": {"anyone": "tests.shop.tasks.stocktake", "admins": "tests.shop.tasks.managed"},
        "room": {which: str(one.pk) for which, one in closed.items()}
        | {"open": str(open_.pk), "direct": str(direct.pk)},
        "message": {which: f"{closed[which].pk}/{said[which]}" for which in said},
        "person": {"own": str(alice.pk), "other": str(zoe.pk)},
        "team": {"own": str(ours.pk), "other": str(theirs.pk)},
        "key": {"own": _key(alice), "other": _key(zoe)},
        "session": {"own": _session(alice), "other": _session(zoe)},
        "team topic": {"own": topics.team(ours.pk), "other": topics.team(theirs.pk)},
        "user topic": {"own": topics.user(alice.pk), "other": topics.user(zoe.pk)},
        "published": {
            "group": "group.sales",
            "dashboard": "group.dashboard",
            "other": topics.user(zoe.pk),
        },
    }
    absent = {
        "job": NO_JOB,
        "file": f"{NO_JOB}/{NUMBER}",
        "message": f"{closed['own'].pk}/{NUMBER}",
        "team topic": topics.team(int(NUMBER)),
        "user topic": topics.user(int(NUMBER)),
        "published": topics.user(int(NUMBER)),
        "task": "tests.shop.tasks.nothing",
    }
    for subject, instances in everything.items():
        instances["absent"] = absent.get(subject, NUMBER)
    everything["message"]["answered"] = f"{closed['own'].pk}/{_say(zoe, closed['own'])}"
    # A message of a room one may not read is asked for in a room that one may.
    everything["message"]["elsewhere"] = f"{closed['own'].pk}/{said['other']}"
    everything[""] = {"": ""}
    return World(people, everything)


def _report(job: Job) -> int:
    with files.result(job, "report.csv", "text/csv") as report:
        report.write("a,b")
    return report.file.pk


def _say(author: User, room: Room) -> int:
    return messages.post(author, room.pk, uuid.uuid4(), "hello")[0].pk


def _letter(user: User) -> str:
    notify(to=user, kind="orders.late", title="Late")
    return str(Notification.objects.get(recipient=user, kind="orders.late").pk)


def _key(user: User) -> str:
    return str(make_key(user, "mine")[0].pk)


def _session(user: User) -> str:
    return str(SignIn.objects.get(session_key=session_of(user)).pk)


# --- HTTP -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    what: str
    content: bytes


@dataclass
class Hub:
    world: World
    clients: dict[str, Client]
    keys: dict[str, str]

    def ask(self, who: str, method: str, path: str, body: str = "") -> Answer:
        """What it did is undone, in the browser too."""
        client = self.clients[who if who in self.clients else "nobody"]
        headers = {"origin": "http://testserver"}
        if who in self.keys:
            headers = {"authorization": f"Bearer {self.keys[who]}"}
        kind = "application/x-www-form-urlencoded"
        if path.startswith("/api/"):
            kind = "application/json"
        cookies = client.cookies.output(header="")
        with transaction.atomic():
            answer = client.generic(method, path, body, content_type=kind, headers=headers)
            content = b"".join(answer) if answer.streaming else answer.content
            transaction.set_rollback(True)
        client.cookies.clear()
        client.cookies.load(cookies)
        assert answer.status_code not in {429, 500, 503}, (method, path, answer.status_code)
        where = answer.headers.get("Location", "")
        if answer.status_code == 401 or where.startswith(("/accounts/login/", "/admin/login/")):
            return Answer(OUT, content)
        kinds = {403: DENIED, 404: ABSENT, 405: "no such method"}
        return Answer(kinds.get(answer.status_code, DONE), content)


@pytest.fixture
def hub(db: None, settings: Any) -> Hub:
    settings.HUB_IS_STAFF = f"{__name__}.not_the_stranger"
    long_numbers()
    built = world(person)
    built.people["stranger"] = person("stranger")
    built.people["helper"] = person("helper", is_staff=True)
    clients = {"nobody": Client()}
    for name, user in built.people.items():
        clients[name] = Client()
        clients[name].force_login(user)
    keys = {
        name: make_key(built.people[owner], name, scopes)[1]
        for name, (owner, scopes) in KEYS.items()
    }
    access.revoke(ApiKey.objects.get(name="revoked key"))
    return Hub(built, clients, keys)


def fresh_buckets() -> None:
    """Nobody has called anything yet."""
    for name in redis_client.blocking().scan_iter(f"{redis_client.prefix()}:rate:*"):
        redis_client.blocking().delete(name)


def spelt(route: str, instance: str) -> str:
    """The route with the values of this instance in its places, in their order."""
    values = iter(instance.split("/"))
    named = route.replace("{username}", "charlie").replace("{uidb64}/{token}", "MQ/no-such")
    return re.sub(r"\{\w+\}", lambda _: next(values), named)


def owed(who: str, asked: Asked, which: str) -> str:
    if asked.scopes == "public":
        return DONE
    if who in {"nobody", "stranger", "revoked key"}:
        return OUT
    if who in KEYS:
        owner, scopes = KEYS[who]
        if not set(scopes or ()) & set(asked.scopes.split()):
            return DENIED if asked.scopes else OUT
        who, by_key = owner, set(scopes or ())
        if asked.rule is publishing:
            needed = "admin" if which == "dashboard" else "publish"
            return publishing(who, which) if needed in by_key else DENIED
    found = asked.rule(who, which)
    return asked.denied if found == ABSENT else found


PASSING: Final = re.compile(rb'name="csrfmiddlewaretoken" value="\w+"|data-now="[^"]+"')


def plain(answer: Answer, instance: str) -> bytes:
    """Without the ids that were asked for, the token of a form and the time."""
    content = PASSING.sub(b"", answer.content)
    for value in instance.split("/"):
        content = content.replace(value.encode(), b"ID") if value else content
    return content


def compare(
    hub: Hub, method: str, route: str, asked: Asked, prefix: str, roles: Iterable[str]
) -> Iterator[str]:
    """Where an answer is not what the table says, or "other's" and "absent" are told apart."""
    instances = hub.world.things[asked.subject]
    for who in roles:
        seen: dict[str, bytes] = {}
        for which, instance in instances.items():
            path = prefix + spelt(route, instance)
            if asked.query:
                path += f"?{asked.query.replace('ID', instance)}"
            got = hub.ask(who, method, path, asked.body.replace("ID", instance))
            wanted = owed(who, asked, which)
            if got.what != wanted:
                yield f"{method} {path} by {who} ({which}): {got.what}, not {wanted}"
            if owed(who, asked, "absent") == got.what != DONE:
                seen[which] = plain(got, instance)
        for which, content in seen.items():
            if content != seen.get("absent", content) and owed(who, asked, which) != DENIED:
                yield f"{method} {route} by {who}: {which} can be told from absent"


def operations() -> set[tuple[str, str]]:
    described = json.loads(json.dumps(api.get_openapi_schema(path_prefix="/"), default=str))
    return {
        (method.upper(), path.lstrip("/"))
        for path, methods in described["paths"].items()
        for method in methods
    }


def routes(resolver: URLResolver, before: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Every route of the URLconf, `{name}` where a value stands."""
    for one in resolver.url_patterns:
        here = before + re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(one.pattern))
        if isinstance(one, URLResolver):
            yield from routes(one, here)
        else:
            yield here, one


def pages() -> dict[str, URLPattern]:
    """Those that are neither the API's nor the admin's."""
    documented = ("api/v1/docs", "api/v1/openapi.json")
    return {
        route: found
        for route, found in routes(get_resolver())
        if not route.startswith(("api/", "admin/")) or route in documented
    }


@pytest.mark.experiment("E103", quick=True)
@pytest.mark.django_db(transaction=True)
def test_every_operation_answers_by_the_table(hub: Hub, report: Report) -> None:
    assert operations() == set(OPERATIONS)
    wrong: list[str] = []
    for (method, route), asked in OPERATIONS.items():
        fresh_buckets()
        wrong += compare(hub, method, route, asked, "/api/v1/", [*PEOPLE, *KEYS])
    report(n=len(OPERATIONS), worst=f"{len(wrong)} answers that the table does not have")
    assert not wrong, "\n".join(wrong)


@pytest.mark.experiment("E103", quick=True)
@pytest.mark.django_db(transaction=True)
def test_every_page_answers_by_the_table(hub: Hub, report: Report) -> None:
    found = {
        (method, route)
        for route in pages().keys() - NEVER - ANY_METHOD
        for method in ("GET", "POST", "PATCH", "DELETE")
        if hub.ask(
            "admin", method, f"/{spelt(route, f'{NO_JOB}/1' if 'job_id' in route else '1/1')}"
        ).what
        != "no such method"
    }
    wanted = {(method, route) for method, route in PAGES if route not in ANY_METHOD}
    assert found == wanted, sorted(found ^ wanted)
    assert {route for _, route in PAGES} == pages().keys() - NEVER
    wrong: list[str] = []
    for (method, route), asked in PAGES.items():
        fresh_buckets()
        wrong += compare(hub, method, route, asked, "/", [*PEOPLE, "read key"])
    report(n=len(PAGES), worst=f"{len(wrong)} answers that the table does not have")
    assert not wrong, "\n".join(wrong)


@pytest.mark.experiment("E103", quick=True)
@pytest.mark.django_db(transaction=True)
def test_every_page_of_the_admin_is_for_superusers(hub: Hub, report: Report) -> None:
    """Who has no permission is refused before anything is looked for."""
    here = [route for route, _ in routes(get_resolver()) if route.startswith("admin/")]
    beside = r"[$^]|login|logout|password_change|/r/"
    here = [route for route in here if not re.search(beside, route)]
    assert len(here) > 30
    things, wrong = hub.world.things, []
    for route in here:
        subject = next((name for word, name in ADMINISTERED.items() if f"/{word}/" in route), "")
        for which, instance in (things[subject] if "{" in route else {"": ""}).items():
            path = "/" + re.sub(r"\{\w+\}", instance.partition("/")[0] or "1", route)
            wrong += [
                f"{path} by {who} ({which})"
                for who in ("nobody", "stranger", "alice", "announcer")
                if hub.ask(who, "GET", path).what != OUT
            ]
            allowed = {"/admin/", "/admin/jsi18n/"}
            got, gone = (hub.ask("helper", "GET", one) for one in (path, _absent(path, instance)))
            if path in allowed:
                continue
            if (got.what, plain(got, instance)) != (gone.what, plain(gone, NUMBER)):
                wrong.append(f"{path} by helper ({which}) can be told from absent")
            if got.what not in {DENIED, ABSENT} and not _leads_to_denial(hub, path):
                wrong.append(f"{path} by helper ({which}): {got.what}")
    kind = ContentType.objects.get_for_model(Room).pk
    seen = {
        plain(hub.ask("helper", "GET", f"/admin/r/{kind}/{value}/"), value)
        for value in things["room"].values()
    }
    if len(seen) > 1:
        wrong.append(f"/admin/r/ tells {len(seen)} kinds of rooms apart")
    report(n=len(here) + 1, worst=f"{len(wrong)} answers that the table does not have")
    assert not wrong, "\n".join(wrong)


ADMINISTERED: Final = {
    "user": "person",
    "group": "team",
    "apikey": "key",
    "signin": "session",
    "room": "room",
    "announcement": "announcement",
}


def _absent(path: str, instance: str) -> str:
    return path.replace(f"/{instance}/", f"/{NUMBER}/") if instance else path


def _leads_to_denial(hub: Hub, path: str) -> bool:
    """The short address of a thing leads to the one where it is changed."""
    return hub.ask("helper", "GET", f"{path}change/").what == DENIED
