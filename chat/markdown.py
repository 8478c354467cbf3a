"""The Markdown of messages, as safe HTML.

What a chat needs and no more: no headings, tables, images or HTML of one's own. What isn't Markdown here stays as it
was typed. markdown-it makes the layout; nh3 then lets pass what `_ATTRIBUTES` names and nothing else, so that a mistake
in the first is no hole.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import nh3
from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml, isMdAsciiPunct, isPunctChar, isWhiteSpace
from markdown_it.parser_inline import ParserInline
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock, blockquote, list_block
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.rules_inline.state_inline import Scanned
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from chat.emoji import SHORTCODES
from notifications import content

Person = Mapping[str, Any]

_DEEPEST: Final = 20
"""Levels of quotes and lists in each other. Beyond, markdown-it drops text: such a message is shown without layout."""
_STEPS_MAX: Final = 800
"""Lines, marks that may be emphasis, and places where the end of a link is looked for. A message with more of them is
shown without layout: it would take long to lay out, and nobody honest wrote it.
"""
_URL_MAX: Final = 2000
_ABSOLUTE: Final = re.compile(r"https?://", re.IGNORECASE)
_CJK: Final = "\u1100-\u11ff\u3040-\u30ff\u3130-\u318f\u3400-\u9fff\uac00-\ud7a3"
"""Letters of the scripts that put no space between a word and what belongs to it, as `@alice에게` or `**이것**은`."""
_IS_CJK: Final = re.compile(f"[{_CJK}]")
_CALLED: Final = re.compile(r"(?<![\w@.+-])@([\w.+-][\w@.+-]{0,149})")
_AFTER_NAMES: Final = ".+-_@"
_URL: Final = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(?::\d{1,5})?"
    rf"(?:[/?#](?:[^\s<>\"`{{}}|\\^{_CJK}]|(?<![a-z0-9])[{_CJK}])*)?",
    re.IGNORECASE,
)
"""A word in Korean right after a letter or digit is no part of the address: `https://example.org/7을`."""
_AFTER_URLS: Final = ".,:;!?'*_~…·。、，！？；：“”‘’»」』）】"
_SHORTCODE: Final = re.compile(r"(?<![a-z0-9:]):([a-z0-9_+-]{1,40}):", re.IGNORECASE)
_LANGUAGE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+#.-]{0,29}")
_FIRST: Final = re.compile(r"\d{1,9}[.)]")

_ATTRIBUTES: Final[Mapping[str, set[str]]] = {
    "a": {"href"},
    "blockquote": set(),
    "br": set(),
    "code": {"class"},
    "em": set(),
    "li": {"dir"},
    "ol": set(),
    "p": {"dir"},
    "pre": set(),
    "s": set(),
    "span": {"class", "data-user"},
    "strong": set(),
    "ul": set(),
}
_RULES: Final = (
    *("paragraph", "fence", "blockquote", "list"),
    *("newline", "escape", "backticks", "emphasis", "strikethrough", "link", "autolink"),
)


class _Tangled(Exception):
    """A text that takes long to make sense of, which no honest one does."""


def render(value: str, people: Mapping[str, Person]) -> tuple[str, set[str]]:
    """The text as HTML, and the usernames of those of `people` that it mentions, by `@`, outside of code and links."""
    try:
        return _render(_MARKDOWN, value, people)
    except _Tangled:
        return _render(_PLAIN, value, people)


def _render(parser: MarkdownIt, value: str, people: Mapping[str, Person]) -> tuple[str, set[str]]:
    named: set[str] = set()
    html = parser.render(value, {"people": people, "named": named, "steps": 0})
    return _SAFE.clean(html).strip(), named


def called(value: str) -> set[str]:
    """Every username that some `@` of the text may mean: where a name ends is known only to who knows the names."""
    return {name for run in _CALLED.findall(value) for name in _names(run)}


def _names(run: str) -> Iterator[str]:
    """What may be the name at the beginning of `alice에게`: the longest first."""
    for end in range(len(run), 0, -1):
        if end == len(run) or unicodedata.category(run[end]) == "Lo":
            name = run[:end]
            yield name
            bare = name.rstrip(_AFTER_NAMES)
            if bare and bare != name:
                yield bare


def _is_safe_url(url: str) -> bool:
    """http(s), or a path of this hub. What it would be relative to is for nobody who writes a message to see."""
    if len(url) > _URL_MAX or not content.is_safe_url(url):
        return False
    return url.startswith("/") or _ABSOLUTE.match(url) is not None


# --- What is different from CommonMark ---------------------------------------------------------------------------


class _State(StateInline):
    def scanDelims(self, start: int, canSplitWord: bool) -> Scanned:
        """As markdown-it's, with CJK letters as the borders of words that they are: `**"이것"**은` is strong."""
        _count_step(self)
        marker = self.src[start]
        end = start
        while end < self.posMax and self.src[end] == marker:
            end += 1
        before = self.src[start - 1] if start > 0 else " "
        after = self.src[end] if end < self.posMax else " "
        left = not _is_space(after) and not (_is_punctuation(after) and not _is_border(before))
        right = not _is_space(before) and not (_is_punctuation(before) and not _is_border(after))
        can_open = left and (canSplitWord or not right or _is_punctuation(before))
        can_close = right and (canSplitWord or not left or _is_punctuation(after))
        if marker == "~" and before.isalnum():  # 네~~ 좋아요~~
            can_open = False
        return Scanned(can_open, can_close, end - start)


def _count_step(state: StateInline | StateBlock) -> None:
    state.env["steps"] += 1
    if state.env["steps"] > _STEPS_MAX:
        raise _Tangled


def _is_space(character: str) -> bool:
    return isWhiteSpace(ord(character))


def _is_punctuation(character: str) -> bool:
    return isMdAsciiPunct(ord(character)) or isPunctChar(character)


def _is_border(character: str) -> bool:
    return (
        _is_space(character) or _is_punctuation(character) or _IS_CJK.match(character) is not None
    )


class _Inline(ParserInline):
    def skipToken(self, state: StateInline) -> None:
        _count_step(state)
        super().skipToken(state)

    def parse(self, src: str, md: MarkdownIt, env: EnvType, tokens: list[Token]) -> list[Token]:
        state = _State(src, md, env, tokens)
        self.tokenize(state)
        for rule in self.ruler2.getRules(""):
            rule(state)
        return state.tokens


def _quote(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    """Only with a space, for `>_<` is a face."""
    start = state.bMarks[line] + state.tShift[line]
    if state.src[start : start + 2] not in {">", "> ", ">>", ">\n"}:
        return False
    return blockquote(state, line, end, silent)


def _list(state: StateBlock, line: int, end: int, silent: bool) -> bool:
    """A numbered one begins with 1: `2026. 11. 27.` is a day."""
    _count_step(state)
    start = state.bMarks[line] + state.tShift[line]
    number = _FIRST.match(state.src, start)
    if not silent and number is not None and number[0][:-1] != "1":
        return False
    return list_block(state, line, end, silent)


def _url(state: StateInline, silent: bool) -> bool:
    """A bare address. It is met at its colon, when its scheme is text already."""
    if state.linkLevel > 0 or not state.src.startswith("://", state.pos):
        return False
    scheme = re.search(r"(?<![a-z0-9+.-])https?$", state.pending[-6:], re.IGNORECASE)
    if silent or scheme is None:
        return False
    found = _URL.match(state.src, state.pos - len(scheme[0]), state.posMax)
    if found is None:
        return False
    url = _without_end(found[0])
    if len(url) > _URL_MAX:
        return False
    href = state.md.normalizeLink(url)
    if not state.md.validateLink(href):
        return False
    state.pending = state.pending[: -len(scheme[0])]
    opened = state.push("link_open", "a", 1)
    opened.attrs = {"href": href}
    state.push("text", "", 0).content = url
    state.push("link_close", "a", -1)
    state.pos += len(url) - len(scheme[0])
    return True


def _without_end(url: str) -> str:
    """Without what ends the sentence or the brackets around it."""
    url = url.rstrip(_AFTER_URLS)
    for opening, closing in ("()", "[]"):
        while url.endswith(closing) and url.count(closing) > url.count(opening):
            url = url[:-1].rstrip(_AFTER_URLS)
    return url


def _mention(state: StateInline, silent: bool) -> bool:
    if state.linkLevel > 0 or (run := _CALLED.match(state.src, state.pos, state.posMax)) is None:
        return False
    people: Mapping[str, Person] = state.env["people"]
    name = next((name for name in _names(run[1]) if name in people), None)
    if name is None:
        return False
    if not silent:
        state.env["named"].add(name)
        state.push("mention", "span", 0).content = name
    state.pos += 1 + len(name)
    return True


def _emoji(state: StateInline, silent: bool) -> bool:
    found = _SHORTCODE.match(state.src, state.pos, state.posMax)
    if found is None or (character := SHORTCODES.get(found[1].lower())) is None:
        return False
    if not silent:
        state.append_pending(character)
    state.pos = found.end()
    return True


def _finish(state: StateCore) -> None:
    """Writing goes the way its first letter says, block by block; a code block's language is a word or none."""
    for token in state.tokens:
        if token.level >= _DEEPEST - 2:
            raise _Tangled
        if token.type in {"paragraph_open", "list_item_open"}:
            token.attrSet("dir", "auto")
        elif token.type == "fence":
            language = token.info.strip().partition(" ")[0]
            token.info = language if _LANGUAGE.fullmatch(language) else ""
        elif token.children:
            _finish_links(token.children)


def _finish_links(tokens: Sequence[Token]) -> None:
    """They have an address and nothing else; `[x]()`, which has none, is text."""
    is_empty = False
    for token in tokens:
        if token.type == "link_open":
            token.attrs = {"href": token.attrs["href"]}
            is_empty = not token.attrs["href"]
        if is_empty and token.type in {"link_open", "link_close"}:
            token.content = "[" if token.type == "link_open" else "]()"
            token.type = "text"


def _mention_html(
    self: RendererHTML, tokens: Sequence[Token], at: int, options: OptionsDict, env: EnvType
) -> str:
    name = tokens[at].content
    user_id = int(env["people"][name]["id"])
    return f'<span class="mention" data-user="{user_id}">@{escapeHtml(name)}</span>'


def _parser(*rules: str) -> MarkdownIt:
    made = MarkdownIt("zero", {"breaks": True, "maxNesting": _DEEPEST})
    made.inline = _Inline()
    made.inline.ruler.enableOnly(["text"])
    made.inline.ruler2.enableOnly(["balance_pairs", "fragments_join"])
    made.block.ruler.at("blockquote", _quote, {"alt": ["paragraph", "blockquote", "list"]})
    made.block.ruler.at("list", _list, {"alt": ["paragraph", "blockquote"]})
    made.inline.ruler.before("newline", "url", _url)
    made.inline.ruler.push("mention", _mention)
    made.inline.ruler.push("emoji", _emoji)
    made.core.ruler.push("finish", _finish)
    made.enable(rules)
    made.validateLink = _is_safe_url  # type: ignore[method-assign]
    made.add_render_rule("mention", _mention_html)
    return made


# --- What may come out -------------------------------------------------------------------------------------------


def _attribute(tag: str, name: str, value: str) -> str | None:
    match tag, name:
        case "a", "href":
            is_right = _is_safe_url(value)
        case "code", "class":
            is_right = _LANGUAGE.fullmatch(value.removeprefix("language-")) is not None
        case "a", _:  # what nh3 adds to every link
            is_right = name in {"rel", "target"}
        case "span", "data-user":
            is_right = value.isdecimal()
        case _:
            is_right = (name, value) in {("dir", "auto"), ("class", "mention")}
    return value if is_right else None


_MARKDOWN: Final = _parser(*_RULES)
_PLAIN: Final = _parser("paragraph", "newline")
_SAFE: Final = nh3.Cleaner(
    tags=set(_ATTRIBUTES),
    attributes=_ATTRIBUTES,
    attribute_filter=_attribute,
    url_schemes={"http", "https"},
    link_rel="nofollow noopener noreferrer",
    set_tag_attribute_values={"a": {"target": "_blank"}},
)
