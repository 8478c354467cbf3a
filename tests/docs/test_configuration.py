"""docs/configuration.md names every limit that is counted."""

from __future__ import annotations

import re

from accounts.refusals import REASONS
from tests.docs.pages import ROOT, text_of


def test_every_reason_of_a_refusal_has_its_row():
    page = text_of(ROOT / "docs" / "configuration.md")
    section = page.partition("\n## What is limited\n")[2].partition("\n## ")[0]
    assert tuple(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == REASONS
