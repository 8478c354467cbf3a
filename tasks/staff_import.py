"""Importing staff from a CSV file: a stream of rows, a few hundred at a time, into `accounts.staff`.

Nothing is remembered between two attempts: a row that was done before finds its account as it says. Every attempt
goes through the whole file.
"""

from __future__ import annotations

import hashlib
import secrets
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from celery import shared_task
from django.contrib.auth.models import User
from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from accounts import resets, staff
from tasks import files, running, staff_file, tables
from tasks.errors import Cancelled, Failed, NoSuchJob
from tasks.forms import StaffImportForm
from tasks.staff_file import Record, Refused
from tasks.tracking import tracked

ROWS_AT_ONCE: Final = 100
"""Of one transaction: some ten milliseconds of write lock."""
TEAMS_AT_ONCE: Final = 500
"""Where rows have many teams, fewer of them make a transaction."""
ERRORS_LOGGED: Final = 100
REPORT: Final = ("line", "username", "result", "reason")


def is_superuser(user: User) -> bool:
    return user.is_superuser


@tracked(
    title=gettext_lazy("Import staff"),
    description=gettext_lazy(
        "Makes and changes accounts from a CSV file. Passwords and administrators' rights stay as they are."
    ),
    form=StaffImportForm,
    permission=is_superuser,
)
@shared_task(name="staff.import")
def import_staff(file: int, dry_run: bool = False, invite: bool = False) -> str:
    """`file` is the id of an upload. Attaches `report.csv`: what was made, changed and refused."""
    job = running.current()
    work = _Import(None if job is None else job.owner, dry_run, invite)
    try:
        total = sum(1 for _record in staff_file.records(_lines(file)))
        running.log(
            ngettext("%(count)s row.", "%(count)s rows.", total) % {"count": _number(total)}
        )
        if dry_run:
            running.log(_("Dry run: nothing is written."))
        running.progress(0, total)
        work.go_through(staff_file.records(_lines(file)), total)
    except (Refused, UnicodeDecodeError) as error:
        raise Failed(str(error)) from error
    finally:
        if work.invited and not dry_run:
            resets.wake()
    running.log(work.summary())
    return work.summary()


@dataclass
class _Import:
    """One way through the file."""

    by: User | None
    dry_run: bool
    invite: bool
    results: Counter[str] = field(default_factory=Counter)
    invited: int = 0
    _teams_made: int = 0
    _teams_foreseen: set[str] = field(default_factory=set)
    """A dry run makes none, so that the next rows miss them again."""

    def go_through(self, records: Iterable[Record], total: int) -> None:
        """Whoever cancels gets the report of what was done; each batch is done or not."""
        cancelled: Cancelled | None = None
        with running.attach("report.csv", "text/csv") as out:
            put = tables.csv_writer(out, REPORT)
            done = 0
            try:
                for batch in _batches(records):
                    self._apply(batch, put)
                    done += len(batch)
                    running.progress(done, total)
            except Cancelled as asked:
                cancelled = asked
        if cancelled is not None:
            raise cancelled
        if done != total:
            raise Failed(_("The file is not what it was when the import began: start it again."))

    def summary(self) -> str:
        """ "812 created, 14 changed, 99,170 unchanged, 4 errors, 2 teams made" """
        teams = len(self._teams_foreseen) or self._teams_made
        errors = self.results["error"]
        said = [
            _("%(count)s created") % {"count": _number(self.results["created"])},
            _("%(count)s changed") % {"count": _number(self.results["changed"])},
            _("%(count)s unchanged") % {"count": _number(self.results["unchanged"])},
            ngettext("%(count)s error", "%(count)s errors", errors) % {"count": _number(errors)},
            ngettext("%(count)s team made", "%(count)s teams made", teams)
            % {"count": _number(teams)},
        ]
        if self.invite:
            said.append(_("%(count)s invited") % {"count": _number(self.invited)})
        if self.dry_run:
            return _("Dry run, nothing was written: %(summary)s") % {"summary": ", ".join(said)}
        return ", ".join(said)

    def _apply(self, batch: list[_Line], put: Callable[[Iterable[Any]], object]) -> None:
        rows = [line.row for line in batch if line.row is not None]
        applied = staff.apply(rows, by=self.by, dry_run=self.dry_run, invite=self.invite)
        self.invited += applied.invited
        self._teams_made += len(applied.teams_made)
        if self.dry_run:
            self._teams_foreseen.update(applied.teams_made)
        place = 0
        for line in batch:
            result, reason = "error", line.error
            if line.row is not None:
                result, reason = applied.results[place], applied.reasons.get(place, "")
                place += 1
            self.results[result] += 1
            if result != "unchanged":
                put((line.number, line.username, result, reason))
            if result == "error":
                self._log_error(line.number, reason)

    def _log_error(self, number: int, reason: str) -> None:
        count = self.results["error"]
        if count <= ERRORS_LOGGED:
            running.log(_("Line %(line)d: %(reason)s") % {"line": number, "reason": reason})
        elif count == ERRORS_LOGGED + 1:
            running.log(_("More errors are in the report."))


@dataclass(frozen=True, slots=True)
class _Line:
    """A row with its place in the file, or what is wrong with it."""

    number: int
    username: str
    row: staff.Row | None = None
    error: str = ""


def _lines(file: int) -> Iterator[str]:
    try:
        return files.lines(file)
    except NoSuchJob:
        raise Failed(
            _("The uploaded file is kept no longer: start a new import with it.")
        ) from None


def _batches(records: Iterable[Record]) -> Iterator[list[_Line]]:
    seen = _Seen()
    batch: list[_Line] = []
    teams = 0
    for record in records:
        line = _parsed(record, seen)
        more = len(line.row.teams or ()) if line.row is not None else 0
        if len(batch) >= ROWS_AT_ONCE or (batch and teams + more > TEAMS_AT_ONCE):
            yield batch
            batch, teams = [], 0
        batch.append(line)
        teams += more
    if batch:
        yield batch


def _parsed(record: Record, seen: _Seen) -> _Line:
    shown = record.cells.get("username", "").strip()[:150]
    try:
        if record.error:
            raise staff.InvalidRow(_of_lines(record))
        name = staff.username(record.cells.get("username", ""))
        first = seen.first(name.casefold(), record.line)
        if first:
            text = _("username: line %(line)d has it already; upper and lower case count as one.")
            raise staff.InvalidRow(text % {"line": first})
        return _Line(record.line, name, staff.parse(record.cells))
    except staff.InvalidRow as error:
        return _Line(record.line, shown, error=str(error))


def _of_lines(record: Record) -> str:
    if record.last <= record.line:
        return record.error
    text = _("lines %(first)d to %(last)d: %(reason)s")
    return text % {"first": record.line, "last": record.last, "reason": record.error}


class _Seen:
    """On which line each username came first, in 6 MiB for any file that is accepted.

    A hash table of two arrays, twice as large as files have rows. It knows names by 64 bits of a keyed digest: that two
    of 200,000 names share theirs happens to one file in a thousand million.
    """

    _SLOTS: Final = 2**19

    def __init__(self) -> None:
        self._key = secrets.token_bytes(16)
        self._digests = array("Q", bytes(8 * self._SLOTS))
        self._lines = array("I", [0]) * self._SLOTS

    def first(self, name: str, line: int) -> int:
        """The line where this name came before; 0 when it is new, and it is noted now."""
        digest = hashlib.blake2b(name.encode(), digest_size=8, key=self._key).digest()
        wanted = int.from_bytes(digest) or 1
        slot = wanted % self._SLOTS
        while found := self._digests[slot]:
            if found == wanted:
                return self._lines[slot]
            slot = (slot + 1) % self._SLOTS
        self._digests[slot], self._lines[slot] = wanted, line
        return 0


def _number(count: int) -> str:
    return str(number_format(count, force_grouping=True))
