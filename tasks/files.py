"""Uploads and result files: written and read piece by piece, so that no size costs memory."""

from __future__ import annotations

import codecs
import re
from collections.abc import AsyncIterator, Iterable, Iterator
from datetime import timedelta
from types import TracebackType
from typing import Final
from urllib.parse import quote

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.files.uploadedfile import UploadedFile
from django.db import connection
from django.http import StreamingHttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from tasks.errors import NoSuchJob, TooLarge
from tasks.models import FILE_NAME_MAX, FILES_MAX, File, FileChunk, Job

PIECE: Final = 256 * 1024
"""Bytes of one row: some milliseconds of write lock."""
BITE: Final = 20
"""Rows that one transaction deletes."""
LARGEST: Final = 256 * 1024 * 1024
UPLOAD_MAX: Final = 16 * 1024 * 1024
"""Bytes of what somebody gives to a job: a CSV file of 100,000 rows, and room."""
SAFE_TYPES: Final = frozenset(
    {
        "text/csv",
        "text/plain",
        "application/json",
        "application/x-ndjson",
        "application/zip",
        "application/pdf",
    }
)
"""What a result may call itself; everything else is bytes to a browser. All are downloaded, none is shown."""
_UNSAFE: Final = re.compile(r'[\x00-\x1f\x7f/\\:"]')


def small_enough(upload: UploadedFile[bytes]) -> None:
    """Raises ValidationError, as what is wrong with a field of a form."""
    if (upload.size or 0) > UPLOAD_MAX:
        raise ValidationError(
            _("The file may have at most %(size)d MiB.") % {"size": UPLOAD_MAX // 2**20}
        )


class Writer:
    """A file that is being written; it exists for others once it is closed without an exception."""

    def __init__(self, file: File) -> None:
        self.file = file
        self._buffer = bytearray()
        self._place = 0

    def write(self, data: str | bytes) -> int:
        """Raises TooLarge."""
        self._buffer += data.encode("utf-8", "replace") if isinstance(data, str) else data
        while len(self._buffer) >= PIECE:
            self._store(PIECE)
        return len(data)

    def close(self) -> None:
        if self._buffer:
            self._store(len(self._buffer))
        self.file.complete_at = timezone.now()
        self.file.save(update_fields=["size", "complete_at"])

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            forget(self.file.pk)

    def _store(self, size: int) -> None:
        self.file.size += size
        if self.file.size > LARGEST:
            raise TooLarge(_("A file may have at most %(size)d MiB.") % {"size": LARGEST // 2**20})
        FileChunk.objects.create(file=self.file, place=self._place, data=bytes(self._buffer[:size]))
        self._place += 1
        del self._buffer[:size]


class Nowhere(Writer):
    """Takes what a task writes that nobody tracks."""

    def __init__(self) -> None:
        super().__init__(File())

    def write(self, data: str | bytes) -> int:
        return len(data)

    def close(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def result(job: Job, name: str, content_type: str) -> Writer:
    """A new result file of the job's present attempt. Raises TooLarge beyond ten."""
    there = File.objects.filter(job=job, role=File.Role.RESULT, attempt=job.attempt).count()
    if there >= FILES_MAX:
        raise TooLarge(_("A job may have at most %(count)d files.") % {"count": FILES_MAX})
    return Writer(_open(name, content_type, File.Role.RESULT, job))


def store(name: str, content_type: str, pieces: Iterable[bytes]) -> File:
    """Keep an upload, which belongs to no job yet: `adopt` gives it to one."""
    with Writer(_open(name, content_type, File.Role.UPLOAD, None)) as out:
        for piece in pieces:
            out.write(piece)
    return out.file


def adopt(job: Job, ids: Iterable[int]) -> None:
    File.objects.filter(pk__in=list(ids), job=None).update(job=job)


def drop(ids: Iterable[int]) -> None:
    """Uploads that no job came to need."""
    for pk in list(File.objects.filter(pk__in=list(ids), job=None).values_list("pk", flat=True)):
        forget(pk)


def read(file: File) -> Iterator[bytes]:
    """The bytes, a piece in memory at a time."""
    place = 0
    while True:
        found = FileChunk.objects.filter(file=file, place=place).values_list("data", flat=True)
        data = found.first()
        if data is None:
            return
        yield bytes(data)
        place += 1


def lines(file_id: int, encoding: str = "utf-8-sig") -> Iterator[str]:
    """An upload as text, line by line with its line feeds. Raises NoSuchJob when it is kept no longer, UnicodeDecodeError."""
    file = File.objects.filter(pk=file_id, complete_at__isnull=False).first()
    if file is None:
        raise NoSuchJob
    return text_lines(read(file), encoding)


def text_lines(pieces: Iterable[bytes], encoding: str = "utf-8-sig") -> Iterator[str]:
    """Lines with their line feeds, as `csv` wants them. Raises UnicodeDecodeError."""
    decoder = codecs.getincrementaldecoder(encoding)()
    rest = ""
    for piece in pieces:
        *whole, rest = (rest + decoder.decode(piece)).split("\n")
        for line in whole:
            yield line + "\n"
    rest += decoder.decode(b"", final=True)
    if rest:
        yield rest


def of(job: Job, file_id: int) -> File:
    """A result file of this job. Raises NoSuchJob."""
    found = File.objects.filter(
        pk=file_id,
        job=job,
        role=File.Role.RESULT,
        complete_at__isnull=False,
        expires_at__gt=timezone.now(),
    ).first()
    if found is None:
        raise NoSuchJob
    return found


class Download(StreamingHttpResponse):
    """Django itself would gather all pieces of a synchronous iterator before an asynchronous server sends the first."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = iter(self)
        while piece := await sync_to_async(_next_of)(pieces):
            yield piece


def _next_of(pieces: Iterator[bytes]) -> bytes:
    """Between two pieces no database connection is held: whoever reads slowly would keep it from all others."""
    try:
        return next(pieces, b"")
    finally:
        if not connection.in_atomic_block:
            connection.close()


def response(file: File) -> StreamingHttpResponse:
    """A download: never shown by the browser, whatever is in it."""
    kind = file.type if file.type in SAFE_TYPES else "application/octet-stream"
    if kind.startswith("text/"):
        kind += "; charset=utf-8"
    answer = Download(read(file), content_type=kind)
    answer.headers["Content-Length"] = str(file.size)
    answer.headers["Content-Disposition"] = f"attachment; filename*=utf-8''{quote(file.name)}"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    answer.headers["Cache-Control"] = "no-store"
    return answer


def prune() -> int:
    """Retention: files whose time is over."""
    over = File.objects.filter(expires_at__lte=timezone.now()).order_by("expires_at")
    return sum(forget(pk) for pk in list(over.values_list("pk", flat=True)))


def forget(pk: int) -> int:
    """Delete a file bite by bite: nobody waits long for the one writer that SQLite has. Returns how many rows went."""
    gone = 0
    while True:
        chunks = FileChunk.objects.filter(file=pk).order_by("place")
        some = list(chunks.values_list("pk", flat=True)[:BITE])
        if not some:
            return gone + File.objects.filter(pk=pk).delete()[0]
        gone += FileChunk.objects.filter(pk__in=some).delete()[0]


def _open(name: str, content_type: str, role: File.Role, job: Job | None) -> File:
    now = timezone.now()
    return File.objects.create(
        job=job,
        role=role,
        attempt=1 if job is None else job.attempt,
        name=_UNSAFE.sub("_", name).strip(" .")[-FILE_NAME_MAX:] or "file",
        type=content_type[:100],
        created_at=now,
        expires_at=now + timedelta(days=settings.HUB_FILE_DAYS),
    )
