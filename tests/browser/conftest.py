"""A real Chromium against the real server: one browser for the run, one context (one person's browser) per use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.faults.conftest import pytest_runtest_makereport, report  # noqa: F401
from tests.live import Aside, LiveServer, cookies_of, newcomer

SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]

ContextFor = Callable[..., BrowserContext]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)


def chromium_path() -> str:
    """Skips the test without a Chromium, unless the run says that there must be one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM_PATH") or next(filter(None, map(shutil.which, names)), None)
    if found is None:
        if "browser" in os.environ.get("HUB_REQUIRE", "").split(","):
            pytest.fail(
                "HUB_REQUIRE asks for browser tests, and there is no Chromium", pytrace=False
            )
        pytest.skip("no Chromium here")
    return str(found)


@pytest.fixture(scope="package")
def chromium(hub_server: LiveServer) -> Iterator[Browser]:
    """Ends with this package, and the database is there before it: while Playwright runs, a loop runs in this
    thread, and neither the ORM nor an async test can. The tests use both through `aside`."""
    path = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def context_for(chromium: Browser, hub_server: LiveServer, aside: Aside) -> Iterator[ContextFor]:
    """`context_for(user_or_name, server=…, **playwright options)`: a browser in which that person is signed in.

    A name makes a newcomer of it; `context.user` is the account. Uncaught errors of its pages fail the test.
    """
    opened: list[BrowserContext] = []
    errors: list[str] = []

    def open_context(
        who: User | str | None, *, server: LiveServer | None = None, **options: Any
    ) -> BrowserContext:
        base = (server or hub_server).url
        context = chromium.new_context(base_url=base, **options)
        opened.append(context)
        context.on("weberror", lambda error: errors.append(str(error.error)))
        if who is not None:
            user = aside(newcomer, who) if isinstance(who, str) else who
            context.user = user  # type: ignore[attr-defined]
            cookies = aside(cookies_of, user)
            context.add_cookies([{"name": n, "value": v, "url": base} for n, v in cookies.items()])
        return context

    yield open_context
    for context in opened:
        context.close()
    assert errors == []


@pytest.fixture
def page_for(context_for: ContextFor) -> Callable[..., Page]:
    """`page_for("alice")`: a page in a context of its own; `page.context.user` is the account."""

    def open_page(who: User | str | None, **options: Any) -> Page:
        return context_for(who, **options).new_page()

    return open_page
