"""A list of staff as a CSV file: what is refused before anything starts, and its rows with their places.

Read as a stream, twice: once whole before the import starts, and again by the import itself.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from django.utils.formats import number_format
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.staff import COLUMNS
from tasks import files

ROWS_MAX: Final = 200_000
LINE_MAX: Final = 65_536
"""Characters; a line of nothing but commas costs many times its size in memory."""


class Refused(Exception):
    """The file is no list of staff; the text says in a sentence what is accepted."""


@dataclass(frozen=True, slots=True)
class Record:
    """One row: where it begins and ends in the file, and its texts by column, or why it can't be read."""

    line: int
    last: int
    cells: dict[str, str]
    error: str = ""


def check(pieces: Iterable[bytes]) -> int:
    """Read the whole upload. Returns its number of rows; raises Refused."""
    try:
        rows = sum(1 for _record in records(files.text_lines(_text_only(pieces))))
    except UnicodeDecodeError:
        raise Refused(
            _("The file must be text in UTF-8; in Excel save it as “CSV UTF-8”.")
        ) from None
    if rows == 0:
        raise Refused(
            _("The file has no rows; below the line of columns one per person is needed.")
        )
    return rows


def records(lines: Iterable[str]) -> Iterator[Record]:
    """The rows below the header, but for empty ones. Raises Refused, for a wrong header before the first row.

    A row that can't be read is passed on as such, and reading goes on with the line after.
    """
    rows = csv.reader(_bounded(lines), strict=True)
    columns = _header(rows)
    count = 0
    while True:
        line = rows.line_num + 1
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            record = Record(line, rows.line_num, {}, _("it can't be read: %s.") % error)
        else:
            while len(cells) > len(columns) and not cells[-1].strip():
                cells.pop()
            if not any(cell.strip() for cell in cells):
                continue
            record = _record(line, rows.line_num, columns, cells)
        count += 1
        if count > ROWS_MAX:
            most = number_format(ROWS_MAX, force_grouping=True)
            raise Refused(_("The file may have at most %(count)s rows.") % {"count": most})
        yield record


def _text_only(pieces: Iterable[bytes]) -> Iterator[bytes]:
    for piece in pieces:
        if b"\0" in piece:
            raise Refused(
                _("This is no text: a CSV file in UTF-8 is needed; in Excel save as “CSV UTF-8”.")
            )
        yield piece


def _bounded(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        if len(line) > LINE_MAX:
            most = number_format(LINE_MAX, force_grouping=True)
            raise Refused(
                _("A line may have at most %(count)s characters and ends with a line feed.")
                % {"count": most}
            )
        yield line


def _header(rows: Iterator[list[str]]) -> list[str]:
    accepted = {"columns": ", ".join(COLUMNS)}
    try:
        names = next(rows, [])
    except csv.Error:
        names = []
    columns = [name.strip().lower() for name in names]
    while columns and not columns[-1]:
        columns.pop()
    if "username" not in columns and any(mark in name for name in names for mark in ";\t"):
        raise Refused(
            _(
                "Commas must separate the columns, not semicolons or tabs; the first line names them: %(columns)s."
            )
            % accepted
        )
    wrong = [name or "“”" for name in columns if name not in COLUMNS]
    if wrong:
        raise Refused(
            _("Unknown columns: %(wrong)s; accepted are %(columns)s.")
            % {"wrong": ", ".join(wrong)[:200], **accepted}
        )
    double = sorted({name for name in columns if columns.count(name) > 1})
    if double:
        raise Refused(
            _("Columns twice: %(wrong)s; accepted are %(columns)s, each once.")
            % {"wrong": ", ".join(double), **accepted}
        )
    if "username" not in columns:
        raise Refused(
            _("The first line must name the columns: %(columns)s; username is required.") % accepted
        )
    return columns


def _record(line: int, last: int, columns: list[str], cells: list[str]) -> Record:
    named = dict(zip(columns, cells, strict=False))
    if len(cells) == len(columns):
        return Record(line, last, named)
    text = ngettext(
        "it has %(cells)d cell, the first line %(columns)d.",
        "it has %(cells)d cells, the first line %(columns)d.",
        len(cells),
    )
    return Record(line, last, named, text % {"cells": len(cells), "columns": len(columns)})
