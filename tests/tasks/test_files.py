from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection
from django.http import StreamingHttpResponse
from django.utils import timezone

from tasks import files, jobs
from tasks.errors import NoSuchJob, TooLarge
from tasks.models import File, FileChunk, State

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def job(alice):
    job = jobs.create(kind="shop.count", title="Count", owner=alice)
    return jobs.claim(job.pk, 1, 15)


def test_a_result_is_there_once_it_is_whole(job):
    with files.result(job, "report.csv", "text/csv") as out:
        out.write("가,b\n")
        out.write(b"1,2\n")
        assert jobs.item(job)["files"] == []
    [item] = jobs.item(job)["files"]
    assert (item["name"], item["type"], item["size"]) == ("report.csv", "text/csv", 10)
    assert b"".join(files.read(files.of(job, item["id"]))) == "가,b\n1,2\n".encode()


def test_a_result_that_fails_half_way_leaves_nothing(job):
    with pytest.raises(ZeroDivisionError), files.result(job, "report.csv", "text/csv") as out:
        out.write("x" * files.PIECE * 2)
        raise ZeroDivisionError
    assert not File.objects.exists()
    assert not FileChunk.objects.exists()


def test_large_files_are_kept_and_read_in_pieces(job):
    data = bytes(range(256)) * (files.PIECE // 256 * 2 + 5)
    with files.result(job, "big.bin", "application/octet-stream") as out:
        out.write(data)
    assert FileChunk.objects.count() == 3
    pieces = list(files.read(File.objects.get()))
    assert b"".join(pieces) == data
    assert max(map(len, pieces)) == files.PIECE


def test_too_large_and_too_many_are_refused_in_a_sentence(job, monkeypatch):
    monkeypatch.setattr(files, "LARGEST", files.PIECE)
    with (
        pytest.raises(TooLarge, match="at most 0 MiB"),
        files.result(job, "big.bin", "text/plain") as out,
    ):
        out.write(b"x" * (files.PIECE * 2))
    assert not File.objects.exists()
    for number in range(10):
        with files.result(job, f"{number}.txt", "text/plain") as out:
            out.write("x")
    with pytest.raises(TooLarge, match="at most 10 files"):
        files.result(job, "11.txt", "text/plain")


@pytest.mark.parametrize(
    ("said", "sent"),
    [
        ("text/csv", "text/csv; charset=utf-8"),
        ("application/json", "application/json"),
        ("text/html", "application/octet-stream"),
        ("image/svg+xml", "application/octet-stream"),
        ("text/csv\r\nX-Evil: 1", "application/octet-stream"),
    ],
)
def test_a_download_is_never_shown_by_a_browser(job, said, sent):
    with files.result(job, '../"evil"\r\n보고서.html', said) as out:
        out.write("<script>")
    answer = files.response(File.objects.get())
    assert answer.headers["Content-Type"] == sent
    assert answer.headers["Content-Disposition"] == (
        "attachment; filename*=utf-8''__evil___%EB%B3%B4%EA%B3%A0%EC%84%9C.html"
    )
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_a_file_is_found_through_its_own_job_and_attempt_alone(job, bob):
    with files.result(job, "a.txt", "text/plain") as out:
        out.write("a")
    upload = files.store("in.csv", "text/csv", [b"a"])
    files.adopt(job, [upload.pk])
    other = jobs.create(kind="shop.count", title="Count", owner=bob)
    for owner, pk in ((other, out.file.pk), (job, upload.pk), (job, 10**9)):
        with pytest.raises(NoSuchJob):
            files.of(owner, pk)
    jobs.finish(job.pk, 1, State.FAILED)
    assert jobs.item(jobs.retry(job.pk))["files"] == []


def test_files_go_when_their_time_is_over(job, settings):
    settings.HUB_FILE_DAYS = 1
    with files.result(job, "a.txt", "text/plain") as out:
        out.write("a")
    assert files.prune() == 0
    File.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    assert jobs.item(job)["files"] == []
    with pytest.raises(NoSuchJob):
        files.of(job, out.file.pk)
    files.prune()
    assert not File.objects.exists()
    assert not FileChunk.objects.exists()


def test_a_large_file_is_deleted_bite_by_bite(job, settings, monkeypatch):
    def kept(role: str) -> int:
        if role == "upload":
            return files.store("in.csv", "text/csv", [b"x" * 45]).pk
        with files.result(job, "big.txt", "text/plain") as out:
            out.write("x" * 45)
        return out.file.pk

    def half_done() -> None:
        with pytest.raises(ZeroDivisionError), files.result(job, "a", "text/plain") as out:
            out.write("x" * 45)
            raise ZeroDivisionError

    def old() -> None:
        File.objects.update(expires_at=timezone.now())
        files.prune()

    def of_an_old_job() -> None:
        jobs.finish(job.pk, 1, State.FAILED)
        jobs.prune(timezone.now())

    monkeypatch.setattr(files, "PIECE", 1)
    upload = kept("upload")
    assert bites(lambda: files.drop([upload])) == [20, 20, 5]
    assert bites(half_done) == [20, 20, 5]
    kept("result")
    assert bites(old) == [20, 20, 5]
    kept("result")
    assert bites(of_an_old_job) == [20, 20, 5]
    assert not FileChunk.objects.exists()
    assert not File.objects.exists()


def bites(act: Callable[[], object]) -> list[int]:
    """How many pieces each statement deletes."""

    def count(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        answer = execute(sql, params, many, context)
        if sql.startswith("DELETE") and "filechunk" in sql and context["cursor"].rowcount:
            deleted.append(context["cursor"].rowcount)
        return answer

    deleted: list[int] = []
    with connection.execute_wrapper(count):
        act()
    return deleted


def test_uploads_are_read_as_lines_across_pieces(monkeypatch):
    text = "\ufeffusername,name\r\nalice,앨리스\nlast"
    data = text.encode()
    upload = files.store("in.csv", "text/csv", [data[:21], data[21:]])
    assert list(files.lines(upload.pk)) == ["username,name\r\n", "alice,앨리스\n", "last"]
    one_by_one = [data[at : at + 1] for at in range(len(data))]
    assert list(files.text_lines(one_by_one)) == ["username,name\r\n", "alice,앨리스\n", "last"]
    with pytest.raises(UnicodeDecodeError):
        list(files.text_lines(["가".encode("cp949")]))
    with pytest.raises(NoSuchJob):
        files.lines(10**9)


async def test_a_download_is_sent_piece_by_piece_by_an_asynchronous_server(monkeypatch):
    def made_to_order() -> Iterator[bytes]:
        for number in range(3):
            asked.append(number)
            yield b"%d" % number

    asked: list[int] = []
    monkeypatch.setattr(files, "read", lambda file: made_to_order())
    answer = files.response(File(name="big.bin", type="application/zip", size=3))
    seen = [(piece, list(asked)) async for piece in answer]
    assert seen == [(b"0", [0]), (b"1", [0, 1]), (b"2", [0, 1, 2])]


async def test_a_slow_download_holds_no_database_connection(job):
    def prepare() -> StreamingHttpResponse:
        with files.result(job, "big.bin", "application/zip") as out:
            out.write(b"x" * (files.PIECE * 2 + 1))
        return files.response(out.file)

    answer = await sync_to_async(prepare)()
    sizes = []
    async for piece in answer:
        sizes.append(len(piece))
        assert await sync_to_async(lambda: connection.connection)() is None
    assert sizes == [files.PIECE, files.PIECE, 1]
