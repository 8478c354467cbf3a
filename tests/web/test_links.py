from __future__ import annotations

from html.parser import HTMLParser

import pytest
from django.utils import translation

from notifications import activity, announcements
from web.templatetags.hub import linked, subject

# What both sides must make of a text: tests/browser/test_pages.py holds the browser against the same cases.
CASES = [
    ("See https://example.org/a?b=1&c=2.", ["https://example.org/a?b=1&c=2"]),
    ("(http://example.org/x_(y))", ["http://example.org/x_(y)"]),
    ("https://example.org/주문을 보세요, https://example.org/a를", ["https://example.org/", "https://example.org/a"]),
    ("HTTPS://EXAMPLE.ORG", ["HTTPS://EXAMPLE.ORG"]),
    ("javascript:alert(1) data:text/html,x ftp://example.org www.example.org a@example.org", []),
    ("https:// https://... xhttps://example.org", []),
    ('https://example.org/"onmouseover="alert(1)', ["https://example.org/"]),
    ("<b>https://example.org/<i></b>", ["https://example.org/"]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "addresses"), CASES)
def test_links_addresses_and_nothing_else(text, addresses):
    hrefs, tags, shown = [], [], []

    class Reader(HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)
            hrefs.append(dict(attrs)["href"])
            assert dict(attrs)["rel"] == "nofollow noopener noreferrer"

        def handle_data(self, data):
            shown.append(data)

    Reader().feed(linked(text))
    assert hrefs == addresses
    assert set(tags) <= {"a"}
    assert "".join(shown) == text


@pytest.mark.django_db
def test_a_body_has_its_links_on_the_page(client, alice):
    announcements.create(alice, "Couriers", body="Read https://example.org/couriers.")
    client.force_login(alice)
    assert 'href="https://example.org/couriers"' in client.get("/announcements/").content.decode()


def test_what_an_event_is_about_is_called_in_the_readers_language():
    with translation.override("ko"):
        assert subject("announcement.created") == "공지"
        assert activity.subjects()["announcement"] == "공지"
        assert subject("stock.cast_iron.updated") == "cast iron"
    assert subject("announcement.created") == "announcement"
    assert subject("deploy.finished") == "deploy.finished"
