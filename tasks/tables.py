"""Rows as a result file: CSV for people and their spreadsheets, JSON lines for programs.

An export is a task that hands its rows, as the API has them, to `write`:

```python
rows = visible_to(current().owner)
tables.write("orders", format, ("id", "name", "by"), tables.pages(rows, items), rows.count())
```
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import orjson
from django.db import models
from django.db.models import Model, QuerySet
from django.utils.translation import gettext_lazy as _

from tasks import running
from tasks.files import Writer

M = TypeVar("M", bound=Model)

PAGE: Final = 500
"""Rows in memory at a time."""
_BOM: Final = "\N{ZERO WIDTH NO-BREAK SPACE}"
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


class Format(models.TextChoices):
    CSV = "csv", _("CSV")
    EXCEL = "excel", _("CSV for Excel")
    """With a byte order mark: without, Excel takes UTF-8 for what the country used before."""
    JSON_LINES = "jsonl", _("JSON lines")


def write(
    name: str,
    format: str,
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    total: int | None = None,
) -> int:
    """Attach the rows as `<name>.csv` or `<name>.jsonl`, and show how far. Returns how many there were.

    CSV has the columns only, a cell of it what `cell` makes of a value; JSON lines have the rows exactly as they are.
    """
    count = 0
    is_json = format == Format.JSON_LINES
    ending, content_type = ("jsonl", "application/x-ndjson") if is_json else ("csv", "text/csv")
    with running.attach(f"{name}.{ending}", content_type) as out:
        if format == Format.EXCEL:
            out.write(_BOM)
        put = None if is_json else csv_writer(out, columns)
        for row in running.track(rows, total):
            if put is None:
                out.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))
            else:
                put(row[column] for column in columns)
            count += 1
    return count


def pages(
    rows: QuerySet[M], items: Callable[[list[M]], list[dict[str, Any]]]
) -> Iterator[dict[str, Any]]:
    """What `items` makes of the rows, oldest first. Each page is asked for anew: no long transaction, no open cursor."""
    last = 0
    while page := list(rows.filter(pk__gt=last).order_by("pk")[:PAGE]):
        yield from items(page)
        last = page[-1].pk


def csv_writer(out: Writer, columns: Sequence[str]) -> Callable[[Iterable[Any]], object]:
    """Write the header; returns what writes one row of values."""
    writer = csv.writer(out)
    writer.writerow(columns)
    return lambda values: writer.writerow(map(cell, values))


def cell(value: Any) -> str:
    """A value as a CSV cell: people by username, other things by name, yes and no as true and false.

    What a spreadsheet would take for a formula gets a leading apostrophe, which makes it text: `=HYPERLINK(…)` in a title
    that somebody else wrote must not run on the machine of whoever opens the file.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        value = value.get("username") or value.get("name") or ""
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text
