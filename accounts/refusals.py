"""How often a limit turned somebody away, for `/metrics` and the log. Each process counts its own."""

from __future__ import annotations

import logging
from typing import Final, Literal, get_args

from prometheus_client import Counter

logger = logging.getLogger(__name__)

Reason = Literal[
    "connections",
    "frame_rate",
    "frame_size",
    "bad_frames",
    "slow_reader",
    "topics",
    "body",
    "uploads",
    "sign_in",
    "password_reset",
    "calls",
    "publish_rate",
    "publish_size",
]
"""`docs/configuration.md` has one row for each."""

REASONS: Final[tuple[Reason, ...]] = get_args(Reason)

_COUNTER: Final = Counter("hub_refusals_total", "Times a limit turned somebody away", ["reason"])
for _reason in REASONS:  # there from the start, so that a first refusal is seen to rise from 0
    _COUNTER.labels(_reason)


def count(reason: Reason) -> None:
    _COUNTER.labels(reason).inc()
    logger.info("a limit turned somebody away: %s", reason)


def counts() -> dict[str, int]:
    """By reason, of this process."""
    samples = (sample for family in _COUNTER.collect() for sample in family.samples)
    return {
        sample.labels["reason"]: int(sample.value)
        for sample in samples
        if sample.name.endswith("_total")
    }
