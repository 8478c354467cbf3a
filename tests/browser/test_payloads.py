"""Whatever people and programs write: in no page does anything of it run, or even try to."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from typing import Any, Final

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection, transaction
from django.db.models import F, QuerySet
from playwright.sync_api import BrowserContext, Page

from accounts import profiles
from accounts.authenticate import make_key
from accounts.models import SignIn
from chat import messages, rooms
from chat.models import Room
from events import publish_many, topics
from notifications import announcements, notify
from notifications.models import Announcement, Notification
from tasks import external, files
from tasks.models import Job
from tests.browser.payloads import COUNT, LONGEST, payloads
from tests.browser.test_pages import wait_until_live
from tests.faults.conftest import Report
from tests.live import Aside, newcomer, session_of

EVERY: Final = 1 if os.environ.get("HUB_FAULTS") == "full" else 5
"""Which of the corpus are written: the whole of it takes minutes."""
TOGETHER: Final = 100
"""Rows in one transaction."""
SOME: Final = 20
"""Things whose own pages are looked at; all stand in the lists."""
WATCH: Final = """
window.tried = [];
window.hit = () => { window.tried.push('something ran'); return true; };
document.addEventListener('securitypolicyviolation', (event) => {
    window.tried.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""
FOREIGN: Final = """() => [...document.querySelectorAll('*')].filter((one) =>
    [...one.attributes].some(({name, value}) => name.startsWith('on') || (
        ['href', 'src', 'action', 'formaction', 'data'].includes(name) && /^\\s*(javascript|vbscript|data:text)/i.test(value)
    ))
    || ['IFRAME', 'OBJECT', 'EMBED', 'BASE', 'MARQUEE', 'MATH'].includes(one.tagName)
    || (one.tagName === 'SCRIPT' && !one.src && one.type !== 'application/json')
).map((one) => one.outerHTML.slice(0, 200))"""


class World:
    """500 payloads in every field that anybody can write, all of them shown to one superuser."""

    def __init__(self, reader: User) -> None:
        self.reader = reader
        self.team = Group.objects.create(name=f"team {reader.username}")
        reader.groups.add(self.team)
        self.crowd = rooms.create(reader, "closed", "Crowd")
        self.script = external.start(reader, "Backup", lease=3600)
        self.people: list[User] = []
        self.teams: list[Group] = []

    def write(self) -> None:
        corpus = payloads()[::EVERY]
        for start in range(0, len(corpus), TOGETHER):
            some = corpus[start : start + TOGETHER]
            with transaction.atomic():
                for text in some:
                    self._tell(text)
                    self._talk(text)
                    self._work(text)
                    self._settle(text)
                topic = topics.team(self.team.pk)
                publish_many(
                    (topic, "orders.order.created", {"title": text, "url": text}) for text in some
                )
        # What the verbs refuse may stand there all the same: by SQL, or since before they did.
        Notification.objects.filter(recipient=self.reader).update(url=F("title"), kind=F("title"))
        Job.objects.filter(owner=self.reader).exclude(pk=self.script.pk).update(kind=F("title"))

    def clean(self) -> None:
        """What others would see in their own tests."""
        for some in (*self.people, *self.teams):
            some.delete()

    def paths(self) -> list[tuple[str, int]]:
        """Pages, and how many of the older ones behind each."""
        crowd = f"/rooms/{self.crowd.pk}/"
        of_reader = {"owner": self.reader}
        lists = [
            *(("/", 0), ("/wall/", 0), ("/settings/", 0), ("/connection/", 0)),
            *(("/inbox/", 12), ("/announcements/", 30), ("/jobs/", 25), ("/rooms/", 0)),
            *(("/rooms/new/", 0), ("/rooms/direct/", 0), ("/rooms/search/?q=hit", 10)),
            *((crowd, 12), (f"{crowd}settings/", 0), (f"{crowd}leave/", 0), (f"{crowd}delete/", 0)),
            (f"/jobs/{self.script.pk}/", 0),
        ]
        notes = Notification.objects.filter(recipient=self.reader)
        own = [
            *(f"/inbox/{pk}/" for pk in _spread(notes)),
            *(f"/jobs/{pk}/" for pk in _spread(Job.objects.filter(**of_reader))),
            *(f"/rooms/{pk}/settings/" for pk in _spread(Room.objects.filter(**of_reader))),
            *(
                f"/announcements/{pk}/edit/"
                for pk in _spread(Announcement.objects.filter(team=self.team))
            ),
        ]
        return [*lists, *((path, 0) for path in own)]

    def admin_paths(self) -> list[str]:
        room = Room.objects.filter(owner=self.reader).latest("pk").pk
        notice = Announcement.objects.filter(team=self.team).latest("pk").pk
        things = [
            f"auth/user/{self.people[0].pk}",
            f"auth/group/{self.teams[0].pk}",
            f"hub_accounts/apikey/{self.reader.hub_keys.latest('pk').pk}",
            f"hub_chat/room/{room}",
            f"hub_notifications/announcement/{notice}",
        ]
        lists = [
            *("auth/user", "auth/group", "hub_accounts/apikey", "hub_accounts/signin"),
            *("hub_chat/room", "hub_notifications/announcement"),
        ]
        return [
            *(f"/admin/{one}/?q=hit&p={page}" for one in lists for page in range(5)),
            *(
                f"/admin/{one}/{verb}/"
                for one in things
                for verb in ("change", "delete", "history")
            ),
        ]

    def _tell(self, text: str) -> None:
        notify(to=self.reader, kind="orders.late", title=text, body=text)
        announcements.create(self.reader, text, body=text, team=self.team)

    def _talk(self, text: str) -> None:
        author = newcomer("author")
        author.first_name = author.last_name = text
        author.save()
        profile = profiles.of(author)
        profile.display_name = text
        profile.save()
        self.people.append(author)
        rooms.invite(self.crowd, [author], by=self.reader)
        messages.post(author, self.crowd.pk, uuid.uuid4(), text)
        rooms.create(self.reader, "closed", text, topic_line=text)
        SignIn.objects.filter(session_key=session_of(author)).update(user=self.reader, agent=text)

    def _work(self, text: str) -> None:
        job = external.start(self.reader, text)
        external.progress(job, done=1, total=2, note=text)
        external.log(job, text)
        with files.result(job, f"{text}.csv", "text/csv") as report:
            report.write("a,b")
        external.finish(job, ok=False, summary=text, error=text)
        external.log(self.script, text)

    def _settle(self, text: str) -> None:
        make_key(self.reader, text)
        self.teams.append(Group.objects.create(name=f"{text} {self.reader.pk}"))


def _spread(found: QuerySet[Any]) -> list[Any]:
    keys = list(found.order_by("pk").values_list("pk", flat=True))
    return keys[:: max(1, len(keys) // SOME)]


class Looked:
    """What pages tried to do that they must not."""

    def __init__(self, context: BrowserContext) -> None:
        self.wrong: list[str] = []
        self.pages = 0
        context.add_init_script(WATCH)
        context.on("dialog", lambda dialog: self._dialog(dialog))
        context.on("console", lambda said: self._said(said.text))
        context.on("request", lambda request: self._asked(request.url))

    def at(self, page: Page) -> None:
        self.pages += 1
        tried = [*page.evaluate("window.tried"), *page.evaluate(FOREIGN)]
        self.wrong += [f"{page.url}: {what}" for what in tried]

    def _dialog(self, dialog: Any) -> None:
        self.wrong.append(f"a dialog: {dialog.message}")
        dialog.dismiss()

    def _said(self, text: str) -> None:
        if "Content Security Policy" in text:
            self.wrong.append(text)

    def _asked(self, url: str) -> None:
        if not url.startswith(("http://127.0.0.1", "http://localhost", "data:image/")):
            self.wrong.append(f"asked for {url}")


def test_the_corpus_is_large_and_fits_every_field() -> None:
    found = payloads()
    assert len(set(found)) == len(found) == COUNT
    assert max(map(len, found)) <= LONGEST


def test_the_watch_sees_what_runs(page_for: Callable[..., Page]) -> None:
    """Else an empty list of findings would say nothing."""
    page = page_for("alice")
    looked = Looked(page.context)
    page.goto("/")
    page.evaluate(
        """() => new Promise((resolve) => {
            document.addEventListener('securitypolicyviolation', resolve, { once: true });
            document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=hit()>');
        }).then(() => null)"""
    )
    looked.at(page)
    assert any("script-src" in one for one in looked.wrong), looked.wrong
    assert any("<img" in one for one in looked.wrong), looked.wrong
    page.evaluate("window.hit()")
    looked.at(page)
    assert any("something ran" in one for one in looked.wrong), looked.wrong


@pytest.mark.experiment("E95", quick=True)
@pytest.mark.skipif(
    connection.vendor != "sqlite", reason="a page looks the same whatever stores it"
)
@pytest.mark.timeout(600)
def test_nothing_that_is_written_anywhere_runs(
    context_for: Callable[..., BrowserContext], aside: Aside, report: Report
):
    reader = aside(newcomer, "reader", is_superuser=True, is_staff=True)
    world = aside(World, reader)
    context = context_for(reader)
    looked = Looked(context)
    live = [context.new_page() for _ in range(3)]
    for page, path in zip(live, ("/", "/inbox/", f"/rooms/{world.crowd.pk}/"), strict=True):
        page.goto(path)
        wait_until_live(page)
    try:
        aside(world.write)
        page = context.new_page()
        for path, older in aside(world.paths):
            page.goto(path)
            looked.at(page)
            for _ in range(older):
                link = page.locator("main a[href*='before=']:visible").first
                if not link.count():
                    break
                page.goto(link.evaluate("(link) => link.href"))
                looked.at(page)
        for path in aside(world.admin_paths):
            page.goto(path)
            looked.at(page)
        for shown in live:
            looked.at(shown)
    finally:
        aside(world.clean)
    report(
        n=f"{len(payloads()[::EVERY])} payloads",
        worst=f"{len(looked.wrong)} ran or were tried on {looked.pages} pages",
    )
    assert looked.pages > 120
    assert not looked.wrong, "\n".join(looked.wrong[:20])
