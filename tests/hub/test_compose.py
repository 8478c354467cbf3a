"""What docker-compose.yml promises and no other test would notice."""

from __future__ import annotations

import re
from pathlib import Path

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
