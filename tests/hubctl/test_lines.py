from __future__ import annotations

import pytest

from hubctl.lines import LINE_MOST, Backlog, LineCutter
from hubctl.sse import Block, blocks


def cut(*chunks: bytes) -> list[str]:
    cutter = LineCutter()
    return [line for chunk in chunks for line in cutter.feed(chunk)] + cutter.end()


def test_lines_are_whole_wherever_the_bytes_were_cut() -> None:
    text = "eins\nzwei ü 한국어\r\n\nlast".encode()
    for at in range(len(text)):
        assert cut(text[:at], text[at:]) == ["eins", "zwei ü 한국어", "", "last"]


def test_of_a_line_that_is_written_over_the_last_version_stays() -> None:
    assert cut(b"10%\r50%\r", b"100%\ndone\n") == ["100%", "done"]


def test_a_long_line_becomes_several_and_none_of_it_is_lost() -> None:
    text = "x" * (3 * LINE_MOST) + "y"
    for lines in (cut(text.encode()), cut(text.encode() + b"\n"), cut(*[b"x"] * 9000)):
        assert all(len(line) <= LINE_MOST for line in lines)
    assert "".join(cut(text.encode())) == text


def test_a_bar_without_an_end_takes_no_memory() -> None:
    cutter = LineCutter()
    for _ in range(1000):
        assert cutter.feed(b"working |/-\\" * 100 + b"\r") == []
    assert len(cutter._begun) <= LINE_MOST
    assert cutter.feed(b"\rdone\n") == ["done"]


def test_bytes_that_are_no_text_are_shown_as_such() -> None:
    assert cut(b"a\xffb\0c\n") == ["a�b�c"]


def test_the_backlog_gives_lines_in_order_and_in_portions() -> None:
    backlog = Backlog()
    backlog.add(["one", "two", "three"])
    assert backlog.take(8) == "one\ntwo\n"
    assert backlog.take(1) == "three\n"
    assert backlog.take(8) == ""
    assert backlog.size == 0


def test_the_backlog_drops_the_oldest_and_says_how_many() -> None:
    backlog = Backlog(most=100)
    backlog.add([f"{n:09}" for n in range(15)])
    assert backlog.size == 100
    first, *rest = backlog.take(1000).splitlines()
    assert "5 lines are missing here" in first
    assert rest == [f"{n:09}" for n in range(5, 15)]
    backlog.add(["more"])
    assert backlog.take(1000) == "more\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_blocks_of_a_stream_are_whole_wherever_it_was_cut(size) -> None:
    sent = (
        'retry: 2000\n\nid: e~a:1\n\nevent: event\r\ndata: {"x": "한\u2028"}\r\n\r\n:\n\n'
        "event: reset\ndata: a\ndata: b\nid: 5\n\nevent: event\ndata: cut"
    ).encode()
    chunks = [sent[at : at + size] for at in range(0, len(sent), size)]
    assert list(blocks(chunks)) == [
        Block("message", "", "e~a:1"),
        Block("event", '{"x": "한\u2028"}', None),
        Block("reset", "a\nb", "5"),
    ]
