"""No hub starts on packages that its promises do not hold with."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from hub import floors

ROOT = Path(__file__).resolve().parents[2]


def test_what_is_installed_is_new_enough() -> None:
    floors.require()


@pytest.mark.parametrize(
    ("found", "enough"),
    [("4.2.1", False), ("4.2", False), ("4.1.99", False), ("4.2.2", True), ("4.10", True), ("5", True)],
)  # fmt: skip
def test_versions_compare_as_numbers(
    monkeypatch: pytest.MonkeyPatch, found: str, enough: bool
) -> None:
    monkeypatch.setattr(floors, "FLOORS", {"daphne": "4.2.2"})
    monkeypatch.setattr(floors, "version", lambda name: found)
    if enough:
        floors.require()
    else:
        with pytest.raises(ImproperlyConfigured, match=f"daphne {found} is installed: .* 4.2.2"):
            floors.require()


def test_the_floors_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {
        found[1]: found[2]
        for one in project["dependencies"]
        if (found := re.match(r"([\w-]+)(?:\[.*\])?>=([\d.]+)", one))
    }
    ours = {name: floor for name, floor in floors.FLOORS.items() if name in wanted}
    assert len(ours) >= 6
    assert ours == {name: wanted[name] for name in ours}


def test_an_old_package_ends_the_start_with_one_line(tmp_path: Path) -> None:
    """Metadata of an older Daphne stands in front of the installed one."""
    old = tmp_path / "daphne-4.0.0.dist-info"
    old.mkdir()
    (old / "METADATA").write_text("Metadata-Version: 2.1\nName: daphne\nVersion: 4.0.0\n")
    ended = subprocess.run(
        [sys.executable, "manage.py", "up"],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(tmp_path),
            "HUB_DATA_DIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode != 0
    assert (
        ended.stderr.strip()
        .splitlines()[-1]
        .endswith("daphne 4.0.0 is installed: the hub needs 4.2.2 or newer.")
    )
    assert "Traceback" not in ended.stderr
