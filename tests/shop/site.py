"""Settings of a hub with the shop's own pages."""

from __future__ import annotations

from hub.settings import *  # noqa: F403

ROOT_URLCONF = "tests.shop.urls"
