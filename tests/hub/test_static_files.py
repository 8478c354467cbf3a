"""Static files get hashed names that ES modules follow, and are collected only when something changed."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.templatetags.static import static
from django.test import Client

from hub import static_files

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "web" / "static" / "hub"


def test_unchanged_files_are_not_collected_again(
    tmp_path: Path, settings: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STATIC_ROOT = tmp_path  # type: ignore[attr-defined]
    runs: list[str] = []
    monkeypatch.setattr(static_files, "call_command", lambda name, **_: runs.append(name))
    assert static_files.collect()
    assert not static_files.collect()
    monkeypatch.setattr(static_files, "_fingerprint", lambda: "other")
    assert static_files.collect()
    assert len(runs) == 2


def test_modules_import_each_other_by_hashed_names(tmp_path: Path) -> None:
    code = "from hub import static_files; assert static_files.collect()"
    subprocess.run(
        [sys.executable, "-c", f"import django; django.setup(); {code}"],
        cwd=ROOT,
        env={"HUB_DATA_DIR": str(tmp_path), "DJANGO_SETTINGS_MODULE": "hub.settings"},
        check=True,
    )
    collected = tmp_path / "static" / "hub"
    hashed = [
        path for path in collected.rglob("*.js") if re.search(r"\.[0-9a-f]{12}\.js$", path.name)
    ]
    assert hashed
    for path in hashed:
        for target in re.findall(
            r'(?:from|import)\s*"(\.[^"]+)"', path.read_text(encoding="utf-8")
        ):
            assert re.search(r"\.[0-9a-f]{12}\.js$", target), f"{path.name} imports {target}"
            assert (path.parent / target).exists()


def test_whoever_asks_for_favicon_ico_is_led_to_the_icon(client: Client) -> None:
    answer = client.get("/favicon.ico")
    assert (answer.status_code, answer.headers["Location"]) == (302, static("hub/favicon.svg"))


def test_every_import_ends_with_a_semicolon() -> None:
    for path in STATIC.rglob("*.js"):
        if "vendor" in path.parts:
            continue
        text = path.read_text(encoding="utf-8")
        for found in re.finditer(
            r'^(?:import|export)\b[^;]*?["\']\.[^"\']+["\'](.?)', text, re.MULTILINE
        ):
            assert found[1] == ";", f"{path.name}: {found[0]}"
