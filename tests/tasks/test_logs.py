from __future__ import annotations

import orjson
import pytest

from events.publishing import MAX_DATA
from tasks import jobs, logs
from tasks.models import Job, LogChunk, State

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def job(alice):
    job = jobs.create(kind="shop.count", title="Count", owner=alice)
    return jobs.claim(job.pk, 1, 15)


def texts(job: Job, start: int = 1, limit: int = 1000) -> list[tuple[int, str]]:
    return [(line["n"], line["text"]) for line in logs.page(job, start, limit)]


def test_lines_are_numbered_over_all_attempts_and_read_from_any(job):
    assert logs.append(job.pk, 1, "one\ntwo\n") == 2
    assert logs.append(job.pk, 1, "three") == 1
    jobs.finish(job.pk, 1, State.FAILED)
    jobs.retry(job.pk)
    jobs.claim(job.pk, 2, 15)
    assert logs.append(job.pk, 1, "a late word of the first attempt") == 0
    assert logs.append(job.pk, 2, "four") == 1
    assert texts(job) == [(1, "one"), (2, "two"), (3, "three"), (4, "four")]
    assert texts(job, 2, 2) == [(2, "two"), (3, "three")]
    assert texts(job, 5) == []
    assert [line["attempt"] for line in logs.page(job)] == [1, 1, 1, 2]
    assert [line["text"] for line in logs.tail(job, 2)] == ["three", "four"]
    assert "".join(logs.whole(job)) == "one\ntwo\nthree\nfour\n"


def test_a_long_text_is_stored_in_pieces_and_read_across_them(job):
    logs.append(job.pk, 1, "\n".join(map(str, range(2500))))
    assert LogChunk.objects.filter(job=job).count() == 3
    assert texts(job, 998, 5) == [(n, str(n - 1)) for n in range(998, 1003)]
    assert [line["n"] for line in logs.tail(job, 1200)] == list(range(1301, 2501))


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("10 %\r50 %\r100 %\n", ["10 %", "50 %", "100 %"]),
        ("a\r\nb", ["a", "b"]),
        ("\x1b[31mred\x1b[0m \x00bell\x07", ["red bell"]),
        ("한글 \U0001f600", ["한글 \U0001f600"]),
        ("a\n\nb", ["a", "", "b"]),
        ("", []),
        ("\ud800", ["?"]),
        ("x" * 5000, ["x" * 3999 + "…"]),
    ],
)
def test_what_terminals_write_becomes_lines_of_text(job, said, kept):
    logs.append(job.pk, 1, said)
    assert [text for _, text in texts(job)] == kept


def test_a_log_ends_where_it_is_full_and_says_so(job, monkeypatch):
    monkeypatch.setattr(logs, "SIZE_MAX", 20)
    logs.append(job.pk, 1, "123456789\n123456789\n123456789")
    logs.append(job.pk, 1, "more")
    assert [text for _, text in texts(job)] == ["123456789", "123456789", logs.CUT]


@pytest.mark.parametrize(
    ("line", "count", "is_said"),
    [
        ("x" * 99, 300, True),
        ("가" * 99, 100, True),
        ("가" * 99, 150, False),
        ('"' * 99, 200, False),
    ],
)
def test_lines_are_whispered_while_their_bytes_fit_an_event(job, monkeypatch, line, count, is_said):
    said = []
    monkeypatch.setattr(logs, "whisper", lambda _topic, _type, data: said.append(data))
    logs.append(job.pk, 1, "\n".join([line] * count))
    assert [len(data.get("lines", [])) for data in said] == [count if is_said else 0]
    assert len(orjson.dumps(said[0])) <= MAX_DATA
