"""Links lead somewhere, and every file, function and test that a page names is there."""

from __future__ import annotations

import ast
import re
import tomllib
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.pages import PAGES, ROOT, prose_of, text_of

every_page = pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES]
)
TOP = {path.name for path in ROOT.iterdir() if path.is_dir()}
OUTSIDE = {"/work", "/home", "/root", "/tmp", "/Users", "/usr", "/opt"}


def named(page: Path) -> set[str]:
    """What stands in backticks and reads like a path of this repository, with `::name` where one is given."""
    found = re.findall(r"`([^`\s]+)`", prose_of(page))
    return {
        name
        for name in found
        if "/" in name.partition("::")[0]
        and name.partition("/")[0] in TOP
        and "<" not in name
        and "*" not in name
    }


@cache
def definitions(path: Path) -> set[str]:
    """`function`, `Class`, `Class.method` and constants of a Python file; names followed by `(` of a script."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".js":
        return set(re.findall(r"([#\w]+)\(", source))
    names: set[str] = set()

    def walk(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                walk(node.body, f"{prefix}{node.name}.")
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                names.add(prefix + node.target.id)
            if isinstance(node, ast.Assign):
                names.update(prefix + one.id for one in node.targets if isinstance(one, ast.Name))

    walk(ast.parse(source).body, "")
    return names


@every_page
def test_what_it_names_is_there(page: Path) -> None:
    for name in sorted(named(page)):
        place, _, inside = name.partition("::")
        path = ROOT / place
        assert path.exists(), name
        if inside:
            assert inside in definitions(path), name


@every_page
def test_its_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(page)):
        if re.match(r"https?://|mailto:", target):
            continue
        place, _, anchor = unquote(target).partition("#")
        path = (page.parent / place).resolve() if place else page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", text_of(path), re.MULTILINE)
            slugs = {
                re.sub(r"[^\w\- ]", "", text).strip().lower().replace(" ", "-") for text in headings
            }
            assert anchor in slugs, target


@every_page
def test_it_names_no_place_of_one_machine(page: Path) -> None:
    for word in re.findall(r"(?<![\w.:/*>-])(/[A-Za-z]+)(?=/)", text_of(page)):
        assert word not in OUTSIDE, word


def test_every_idea_names_a_file_and_a_test() -> None:
    """Each section of the concepts that says where it is done also says what shows it."""
    sections = re.split(r"^#{2,3} ", prose_of(ROOT / "docs" / "concepts.md"), flags=re.MULTILINE)
    with_a_place = [section for section in sections if "\nHere: " in section]
    assert len(with_a_place) >= 18
    for section in with_a_place:
        assert re.search(r"`tests/[\w/]+\.py::test_\w+`", section), section.splitlines()[0]


def test_every_idea_is_there() -> None:
    text = prose_of(ROOT / "docs" / "concepts.md").lower()
    for idea in (
        *(
            "polling",
            "long polling",
            "streaming",
            "websocket",
            "pub/sub",
            "history",
            "wsgi",
            "asgi",
        ),
        *("`user`", "`session`", "`cookies`", "`headers`", "`url_route`", "`send`", "`group_add`"),
        *("`group_discard`", "`group_send`", "`groups`", "in memory", "on redis", "view", "model"),
        *("task", "command", "daphne", "channels_redis", "instance", "more servers"),
    ):
        assert idea in text, idea


def test_decisions_are_numbered_and_say_what_would_change_them() -> None:
    pages = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    numbers = [int(page.name[:4]) for page in pages]
    assert numbers == list(range(1, len(pages) + 1))
    index = text_of(ROOT / "docs" / "decisions" / "README.md")
    for page in pages:
        text = text_of(page)
        assert text.startswith("# "), page
        for part in ("**Context.**", "**Choice.**", "**What would change it.**"):
            assert part in text, (page.name, part)
        assert len(text.split()) <= 350, page
        assert f"({page.name})" in index, page


def test_pictures_are_small() -> None:
    for picture in (ROOT / "docs" / "images").iterdir():
        assert picture.stat().st_size < 300_000, picture


def test_every_dependency_has_its_line() -> None:
    project = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]
    shown = text_of(ROOT / "docs" / "decisions" / "0014-dependencies.md")
    for requirement in project["dependencies"]:
        name = re.match(r"[\w-]+", requirement)
        assert name
        assert re.search(rf"^\| (.*, )?{name[0]}(,.*)? \|", shown, re.MULTILINE), requirement
