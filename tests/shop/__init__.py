"""An app of somebody's own, for tests of watched models."""

from __future__ import annotations
