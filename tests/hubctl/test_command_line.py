from __future__ import annotations

import subprocess

import pytest

from hubctl import cli
from tests.hubctl.running import Hubctl, end

EVERY = [
    ["run"],
    ["progress"],
    ["publish"],
    ["notify"],
    ["listen"],
    ["inbox"],
    ["jobs"],
]


@pytest.mark.parametrize("verb", EVERY, ids=lambda verb: verb[0])
def test_help_shows_examples_and_says_how_it_exits(verb, capsys) -> None:
    with pytest.raises(SystemExit) as exit:
        cli.main([*verb, "--help"])
    assert exit.value.code == 0
    shown = capsys.readouterr().out
    assert "examples" in shown
    assert "exit code" in shown


def test_help_says_where_the_key_goes(capsys) -> None:
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    shown = capsys.readouterr().out
    for name in ("HUB_URL", "HUB_API_KEY", "HUB_ALLOW_HTTP", "HUBCTL_CONFIG", "hubctl.toml"):
        assert name in shown


@pytest.mark.parametrize(
    "wrong",
    [
        [],
        ["dance"],
        ["run"],
        ["run", "--title", "x", "true"],
        ["run", "--lease", "4", "--", "true"],
        ["run", "--report-for", "soon", "--", "true"],
        ["progress", "much"],
        ["publish", "group.sales", "order.late", "no json"],
        ["publish", "group.sales", "order.late", "[]"],
        ["notify", "nobody named"],
        ["listen", "group.sales,group.ops"],
        ["inbox", "read", "../me"],
        ["jobs", "show", "../me"],
        ["jobs", "start", "staff.import", "staff.csv"],
        ["jobs", "start", "staff.import", "upload=@nowhere.csv"],
    ],
    ids=" ".join,
)
def test_wrong_use_ends_with_2_and_one_line(wrong) -> None:
    done = Hubctl()(*wrong)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"hubctl: ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    "asked",
    [
        ["inbox"],
        ["jobs"],
        ["publish", "group.sales", "order.late", "{}"],
        ["notify", "--to", "a", "b"],
    ],
    ids=" ".join,
)
def test_without_a_hub_it_ends_with_4_and_one_line(asked) -> None:
    done = Hubctl(key="hub_topsecret")(*asked)
    assert (done.returncode, done.stdout) == (4, b"")
    assert done.stderr.count(b"\n") == 1
    assert b"can't be reached" in done.stderr
    assert b"topsecret" not in done.stderr


def test_ctrl_c_ends_it_without_a_word() -> None:
    listener = Hubctl().start("listen")
    try:
        assert listener.stderr is not None
        assert listener.stderr.readline()  # it is up, and has not found the hub
        listener.send_signal(2)
        assert listener.wait(10) == 130
        assert b"Traceback" not in listener.stderr.read()
    except subprocess.TimeoutExpired:
        raise AssertionError("it did not end") from None
    finally:
        end(listener)
