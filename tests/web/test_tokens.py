from __future__ import annotations

import re
from itertools import product
from pathlib import Path

import pytest

HUB = Path(__file__).resolve().parents[2] / "web/static/hub"
SURFACES = ("rail", "paper", "raised", "sunk")
TEXTS = ("ink", "ink-2", "ink-3", "accent", "accent-strong", "good", "warn", "bad")
PAIRS = [
    *product(TEXTS, SURFACES),
    ("ink", "press"),
    ("ink-2", "press"),
    ("ink", "accent-tint"),
    ("ink-2", "accent-tint"),
    ("ink-3", "accent-tint"),
    ("accent", "accent-tint"),
    ("on-accent", "accent-fill"),
    ("on-accent", "accent-fill-hover"),
    ("on-bad", "bad-fill"),
    ("good", "good-tint"),
    ("warn", "warn-tint"),
    ("bad", "bad-tint"),
    ("ink", "good-tint"),
    ("ink", "warn-tint"),
    ("ink", "bad-tint"),
]
CONTROLS = [*product(("edge", "focus"), SURFACES)]  # not text: 3:1


def colours(mode: str) -> dict[str, str]:
    found = re.findall(
        r"--([\w-]+): light-dark\((#\w+), (#\w+)\);", (HUB / "tokens.css").read_text()
    )
    return {name: dark if mode == "dark" else light for name, light, dark in found}


def luminance(colour: str) -> float:
    channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_reaches_aa_on_every_surface(mode):
    colour = colours(mode)
    weak = {
        pair: round(contrast(colour[pair[0]], colour[pair[1]]), 2)
        for pair in PAIRS
        if contrast(colour[pair[0]], colour[pair[1]]) < 4.5
    }
    assert not weak


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_controls_and_focus_stand_out_from_every_surface(mode):
    colour = colours(mode)
    assert all(contrast(colour[one], colour[other]) >= 3 for one, other in CONTROLS)


def test_nothing_else_names_a_colour():
    named = re.compile(
        r"#[0-9a-f]{3,8}\b|\b(?:rgba?|hsla?|oklch|oklab|lab|lch)\(|light-dark\(", re.IGNORECASE
    )
    sheets = [p for p in HUB.rglob("*.css") if "vendor" not in p.parts and p.name != "tokens.css"]
    assert sheets
    offenders = {
        f"{sheet.name}: {line.strip()}"
        for sheet in sheets
        for line in sheet.read_text().splitlines()
        if named.search(line.split("url(")[0])
    }
    assert not offenders
