"""The checker sees what is wrong with a recording: one that can't fail would prove nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from events.models import Event
from tests.faults.checker import Verdict, check
from tests.faults.recorder import Recorder

TOPIC: Final = "group.dashboard"
ALL: Final = range(1, 11)

pytestmark = pytest.mark.django_db


class Story:
    """Ten events, and what a client saw of them; one second passes with every line."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder, self._lines = recorder, list[str]()
        Event.objects.filter(topic=TOPIC).delete()
        Event.objects.bulk_create(
            Event(topic=TOPIC, offset=n, type="test.checker", data=json.dumps({"mark": f"m{n}"}))
            for n in ALL
        )

    def tell(self, what: str, **more: Any) -> None:
        line = {"t": float(len(self._lines)), "what": what, "who": "a", **more}
        self._lines.append(json.dumps(line))

    def gets(self, *offsets: int, **more: Any) -> None:
        for offset in offsets:
            self.tell("wire", **{"topic": TOPIC, "offset": offset, **more})
            self.applies(offset, **more)

    def applies(self, offset: int, **more: Any) -> None:
        self.tell("applied", **{"topic": TOPIC, "offset": offset, "mark": f"m{offset}", **more})

    def verdict(self, **more: Any) -> Verdict:
        text = "".join(f"{line}\n" for line in self._lines)
        self._recorder.path.write_text(text, encoding="utf-8")
        invoked = {"t": 0.0, "what": "invoke", "marks": [f"m{number}" for number in ALL]}
        return check(self._recorder, {"a": {TOPIC: 0}}, published=[invoked], **more)


@pytest.fixture
def story(recorder: Recorder) -> Story:
    return Story(recorder)


def test_who_has_all_once_and_in_order_is_clean(story: Story) -> None:
    story.gets(*ALL)
    verdict = story.verdict()
    assert verdict.clean
    assert (verdict.applied, verdict.latency(1.0)) == (10, 19.0)


def lose_one(story: Story) -> None:
    story.gets(1, 2, 3, 4, 5, 6, 7, 8, 9)


def double_one(story: Story) -> None:
    story.gets(*ALL)
    story.applies(10)


def swap_two(story: Story) -> None:
    story.gets(*range(1, 9), 10, 9)


def leave_a_gap_for_a_while(story: Story) -> None:
    story.gets(1, 2, 4)
    story.tell("connected")
    story.gets(*ALL[2:])


def make_one_up(story: Story) -> None:
    story.gets(*ALL, 11)


def say_something_else(story: Story) -> None:
    story.gets(*ALL[:-1])
    story.gets(10, mark="of a transaction that was undone")


def hear_a_strangers_topic(story: Story) -> None:
    story.gets(*ALL)
    story.gets(1, topic="user.1")


@pytest.mark.parametrize(
    ("go_wrong", "seen"),
    [
        (lose_one, {"lost"}),
        (double_one, {"dup_app"}),
        (swap_two, {"gaps", "reordered"}),
        (leave_a_gap_for_a_while, {"gaps", "reordered", "dup_app"}),
        (make_one_up, {"phantom"}),
        (say_something_else, {"phantom"}),
        (hear_a_strangers_topic, {"foreign"}),
    ],
)
def test_each_fault_is_seen(
    go_wrong: Callable[[Story], None], seen: set[str], story: Story
) -> None:
    go_wrong(story)
    verdict = story.verdict()
    kinds = ("lost", "dup_app", "reordered", "gaps", "phantom", "foreign")
    found = {kind for kind in kinds if getattr(verdict, kind)}
    assert found >= seen
    assert not verdict.clean


def test_what_comes_again_after_a_resume_is_no_fault(story: Story) -> None:
    story.gets(1, 2, 3)
    story.tell("connected")
    story.tell("wire", topic=TOPIC, offset=3)
    story.gets(*ALL[3:])
    verdict = story.verdict()
    assert verdict.clean
    assert verdict.dup_wire == 1


def test_a_reset_is_counted_and_what_it_skips_is_not_lost(story: Story) -> None:
    story.gets(1)
    story.tell("reset", topic=TOPIC, offset=8, reason="expired")
    story.gets(9, 10)
    verdict = story.verdict()
    assert verdict.clean
    assert verdict.resets == 1


def test_who_lost_the_right_is_owed_nothing_and_soon_gets_nothing(story: Story) -> None:
    story.gets(1, 2, 3)
    ended = {("a", TOPIC): 3.0}
    assert story.verdict(until=ended, grace=2.0).clean
    story.gets(4)
    assert story.verdict(until=ended, grace=2.0).foreign == 2


def test_a_silence_lasts_from_the_fault_to_the_next_event_of_who_lost_a_connection(
    story: Story,
) -> None:
    story.tell("fault", who="kill")
    story.gets(1)  # it had been on its way
    for _ in range(3):
        story.tell("connected")
    story.gets(*ALL[1:])
    assert story.verdict().silences == [7.0]


def test_who_stays_connected_is_not_silent(story: Story) -> None:
    story.gets(1)
    story.tell("fault", who="kill")
    story.gets(*ALL[1:])
    assert story.verdict().silences == []
