"""hubctl is a distribution of its own: it can be installed where nothing of the hub is."""

from __future__ import annotations

import ast
import importlib
import re
import sys
import tomllib
from pathlib import Path

import pytest

from hubctl import __version__
from tests.hubctl.running import Hubctl

HOME = Path(__file__).resolve().parents[2] / "hubctl"
PROJECT = tomllib.loads((HOME / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.mark.parametrize("path", sorted(HOME.glob("*.py")), ids=lambda path: path.name)
def test_imports_the_standard_library_httpx_and_itself(path: Path) -> None:
    allowed = {*sys.stdlib_module_names, "httpx", "hubctl"}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            assert {alias.name.partition(".")[0] for alias in node.names} <= allowed
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").partition(".")[0] in allowed


def test_needs_nothing_but_httpx() -> None:
    assert [re.split(r"[^\w-]", one)[0] for one in PROJECT["dependencies"]] == ["httpx"]


def test_installs_a_command_that_is_there() -> None:
    module, _, name = PROJECT["scripts"]["hubctl"].partition(":")
    assert callable(getattr(importlib.import_module(module), name))


def test_says_its_version() -> None:
    assert PROJECT["version"] == __version__
    done = Hubctl()("--version")
    assert done.stdout.decode() == f"hubctl {__version__}\n"
