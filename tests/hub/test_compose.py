"""What docker-compose.yml promises and no other test would notice."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from hub import env

ROOT = Path(__file__).resolve().parents[2]


def test_every_process_can_note_how_far_the_log_has_come() -> None:
    """Without it nobody would notice that an older database was put back."""
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    home = re.search(r"HUB_DATA_DIR=(\S+)", image)
    assert home is not None
    common = compose.partition("x-hub:")[2].partition("\n\n")[0]
    migrate = compose.partition("\nservices:")[2].partition("\n  migrate:")[2].partition("\n\n")[0]
    for service in (common, migrate):
        assert f"- state:{home[1]}\n" in f"{service}\n"
    assert re.search(rf"install -d -o hub -g hub {home[1]}\b", image)
    assert re.search(r"^  state:", compose.partition("\nvolumes:")[2], re.MULTILINE)


def in_the_image() -> list[str]:
    """What the allow-list lets into the image."""
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    return [line.removeprefix("!") for line in lines if line.startswith("!")]


def test_the_image_holds_all_that_the_hub_imports(tmp_path: Path) -> None:
    for name in in_the_image():
        place = tmp_path / name
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, place, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            place.parent.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, place)
    checked = subprocess.run(
        [sys.executable, "manage.py", "check"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "HUB_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr


def test_the_image_compiles_every_package_that_it_holds() -> None:
    """Its file system is read-only: what is not compiled when it is built is compiled at every start."""
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    compiled = re.search(r"compileall -q (.+)", image)
    assert compiled is not None
    packages = {name for name in in_the_image() if (ROOT / name / "__init__.py").exists()}
    assert set(compiled[1].split()) == packages


def test_every_setting_is_handed_on_or_fixed() -> None:
    """What somebody writes into `.env` has an effect."""
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    common = compose.partition("environment: &environment\n")[2].partition("  volumes:")[0]
    rows = dict(re.findall(r"^    (\w+): (.+)$", common, re.MULTILINE))
    fixed = {name for name, value in rows.items() if not value.startswith("${")}
    assert fixed == {
        *("HUB_PROXY", "HUB_DEMO", "SECRET_KEY_FILE", "HUB_LAYER_KEY_FILE"),
        *("DATABASE_URL", "DATABASE_PASSWORD_FILE", "REDIS_URL", "REDIS_PASSWORD_FILE"),
    }
    for name in rows.keys() - fixed - {"HUB_URL"}:
        assert rows[name] == f"${{{name}:-}}"  # an empty one means the default
    before_nginx = {"HUB_BIND", "HUB_PORT"}
    assert all(f"${{{name}:-" in compose for name in before_nginx)
    pointless = {"HUB_DATA_DIR", "HUB_DEMO_PASSWORD", "SECRET_KEY", "HUB_LAYER_KEY"}
    assert rows.keys() | before_nginx | pointless == env.KNOWN
