from __future__ import annotations

import ast
import gettext
import re
import shutil
from pathlib import Path

import pytest
from django.core.management import call_command
from django.test import override_settings

ROOT = Path(__file__).resolve().parents[2]
CATALOGS = sorted((ROOT / "locale").glob("*/LC_MESSAGES/*.po"))
SAME_IN_BOTH: set[str] = set()  # msgids that a reviewer found right untranslated


def entries(path: Path) -> list[dict[str, str]]:
    """msgid, msgid_plural, msgstr… of every entry but the header, and `flags`."""
    found = []
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        entry: dict[str, str] = {"flags": ""}
        key = ""
        for line in block.splitlines():
            if line.startswith("#"):
                entry["flags"] += line + "\n"
            elif match := re.match(r'(msg\w+(?:\[\d\])?) (".*")$', line):
                key = match[1]
                entry[key] = ast.literal_eval(match[2])
            elif line.startswith('"'):
                entry[key] += ast.literal_eval(line)
        if entry.get("msgid"):
            found.append(entry)
    return found


def name(entry: dict[str, str]) -> str:
    """What it is found by: with its context, where it has one."""
    context = f"{entry['msgctxt']}\x04" if "msgctxt" in entry else ""
    return context + entry["msgid"]


def translations(entry: dict[str, str]) -> list[str]:
    return [text for key, text in entry.items() if key.startswith("msgstr")]


@pytest.fixture(params=CATALOGS, ids=lambda path: path.stem)
def catalog(request):
    return request.param


def test_there_is_korean_for_python_and_for_the_browser():
    assert {path.stem for path in CATALOGS} == {"django", "djangojs"}


def test_nothing_is_empty_or_fuzzy(catalog):
    assert not [
        entry["msgid"]
        for entry in entries(catalog)
        if "fuzzy" in entry["flags"] or not all(translations(entry))
    ]


def test_nothing_is_left_in_english(catalog):
    assert not [
        entry["msgid"]
        for entry in entries(catalog)
        if entry["msgid"] in translations(entry) and entry["msgid"] not in SAME_IN_BOTH
    ]


def test_placeholders_and_markup_survive(catalog):
    parts = re.compile(r"%\(\w+\)[sd]|</?\w+[^>]*>")
    for entry in entries(catalog):
        for text in translations(entry):
            assert sorted(parts.findall(text)) == sorted(parts.findall(entry["msgid"]))


def test_no_particle_depends_on_what_is_filled_in(catalog):
    either = re.compile(r"\w\((를|을|가|이|는|은|와|과)\)|\(으\)로")
    assert not [
        text for entry in entries(catalog) for text in translations(entry) if either.search(text)
    ]


def test_the_compiled_catalog_says_the_same(catalog):
    with catalog.with_suffix(".mo").open("rb") as file:
        compiled = gettext.GNUTranslations(file)
    listed = entries(catalog)
    for entry in listed:
        if "msgid_plural" in entry:
            said = compiled.ngettext(name(entry), entry["msgid_plural"], 1)
        else:
            said = compiled.gettext(name(entry))
        assert said == translations(entry)[0]
    ids = {key[0] if isinstance(key, tuple) else key for key in vars(compiled)["_catalog"] if key}
    assert ids == set(map(name, listed))


@pytest.mark.skipif(not shutil.which("xgettext"), reason="gettext is not installed")
@pytest.mark.parametrize("domain", ["django", "djangojs"])
def test_every_text_of_the_code_is_in_the_catalog(domain, tmp_path, monkeypatch):
    # In a copy: makemessages writes beside the sources, and into every `locale` below the working directory.
    for package in (
        "hub",
        "web",
        "consumers",
        "chat",
        "tasks",
        "notifications",
        "accounts",
        "events",
        "locale",
    ):
        shutil.copytree(ROOT / package, tmp_path / package)
    monkeypatch.chdir(tmp_path)
    with override_settings(LOCALE_PATHS=[str(tmp_path / "locale")]):
        call_command(
            "makemessages",
            locale=["ko"],
            domain=domain,
            extensions=["py", "html", "txt"] if domain == "django" else ["js"],
            ignore_patterns=["*/vendor/*"],
            no_location=True,
            no_obsolete=True,
            verbosity=0,
        )
    kept = {name(entry) for entry in entries(ROOT / f"locale/ko/LC_MESSAGES/{domain}.po")}
    now = {name(entry) for entry in entries(tmp_path / f"locale/ko/LC_MESSAGES/{domain}.po")}
    assert now == kept, "run scripts/messages and translate what is new"
