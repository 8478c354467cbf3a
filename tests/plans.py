"""By which ways a database comes to its rows, as its own planner says of the queries that code really makes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from django.db import connection

WHOLE: Final = "whole"
_ASKING: Final = re.compile(r"[\s(]*(SELECT|UPDATE|DELETE)\b", re.IGNORECASE)
_STEP: Final = re.compile(
    r"(?P<how>SCAN|SEARCH) (?P<table>\w+)"
    r"(?: USING (?:(?:COVERING )?INDEX (?P<index>\w+)|(?P<rowid>INTEGER PRIMARY KEY)))?"
)


@dataclass(frozen=True)
class Way:
    """`by`: the index, by its name or, where it belongs to a constraint, by its columns: `(topic, offset)`.

    `whole …` where all of that is read, and just `whole` where there is none.
    """

    table: str
    by: str
    sql: str


def ways(act: Callable[[], Any]) -> list[Way]:
    """How each statement of `act` comes to the rows of each table.

    Asked just before it runs, with parameters as in earnest: SQLite plans otherwise with constants.
    """
    found: list[Way] = []
    asking = False

    def explain(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        nonlocal asking
        if not asking and _ASKING.match(sql):
            asking = True
            found.extend(_of_sqlite(sql, params) if _is_sqlite() else _of_postgres(sql, params))
            asking = False
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explain):
        act()
    return found


def _is_sqlite() -> bool:
    return connection.vendor == "sqlite"


def _of_sqlite(sql: str, params: Any) -> Iterator[Way]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params)
        steps = [_STEP.match(row[3]) for row in cursor.fetchall()]
    called = _aliases(sql)
    for step in filter(None, steps):
        index = step["index"]
        table = _indexes()[index].table if index else called.get(step["table"])
        if table is None:
            continue  # what another step has found is gone through
        if step["rowid"]:
            yield Way(table, _primary_key(table), sql)
        else:
            yield Way(table, _by(index, is_bound=step["how"] == "SEARCH"), sql)


def _aliases(sql: str) -> dict[str, str]:
    """Tables by what they are called in a statement; one name may stand for several, of which one will do."""
    said = re.findall(r'(?:FROM|JOIN|UPDATE)\s+"?(\w+)"?(?:\s+(?:AS\s+)?(\w+))?', sql)
    return {name: table for table, alias in said for name in (table, alias) if table in _tables()}


def _of_postgres(sql: str, params: Any) -> Iterator[Way]:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", params)
        (found,) = cursor.fetchone()
    tree = found if isinstance(found, list) else json.loads(found)
    return _of_node(tree[0]["Plan"], sql)


def _of_node(node: dict[str, Any], sql: str, *, is_first_few: bool = False) -> Iterator[Way]:
    """`is_first_few`: a limit, which it knows to be reached soon, ends a walk along an index."""
    if node["Node Type"] == "Seq Scan":
        yield Way(node["Relation Name"], WHOLE, sql)
    elif index := node.get("Index Name"):
        known, bound = _indexes()[index], node.get("Index Cond", "")
        # A condition on another column than the first is looked for all through the index.
        is_bound = is_first_few or re.search(rf"\b{known.first_column}\b", bound) is not None
        yield Way(known.table, _by(index, is_bound=is_bound), sql)
    is_first_few = node["Node Type"] == "Limit"
    for part in node.get("Plans", []):
        yield from _of_node(part, sql, is_first_few=is_first_few)


def _by(index: str | None, *, is_bound: bool) -> str:
    if index is None:
        return WHOLE
    known = _indexes()[index]
    return known.name if is_bound or known.is_partial else f"{WHOLE} {known.name}"


@dataclass(frozen=True)
class _Index:
    table: str
    name: str
    first_column: str
    is_partial: bool


@cache
def _indexes() -> dict[str, _Index]:
    """All that there are, by what the database calls them."""
    with connection.cursor() as cursor:
        cursor.execute(_ON_SQLITE if _is_sqlite() else _ON_POSTGRES)
        return {
            called: _Index(
                table,
                f"({columns})" if is_of_constraint else called,
                str(columns).partition(", ")[0],
                bool(is_partial),
            )
            for called, table, columns, is_of_constraint, is_partial in cursor.fetchall()
        }


_ON_SQLITE: Final = """
    SELECT found.name, whose.name, group_concat(part.name, ', '), found.origin <> 'c', found.partial
    FROM sqlite_master AS whose, pragma_index_list(whose.name) AS found, pragma_index_info(found.name) AS part
    WHERE whose.type = 'table' GROUP BY found.name
"""
_ON_POSTGRES: Final = """
    SELECT called.relname, whose.relname, string_agg(part.attname, ', ' ORDER BY part.attnum),
        EXISTS (SELECT 1 FROM pg_constraint AS held WHERE held.conindid = found.indexrelid AND held.contype IN ('p', 'u')),
        found.indpred IS NOT NULL
    FROM pg_index AS found
    JOIN pg_class AS called ON called.oid = found.indexrelid
    JOIN pg_class AS whose ON whose.oid = found.indrelid
    JOIN pg_attribute AS part ON part.attrelid = found.indexrelid
    GROUP BY called.relname, whose.relname, found.indexrelid, found.indpred
"""


@cache
def _tables() -> frozenset[str]:
    return frozenset(connection.introspection.table_names())


@cache
def _primary_key(table: str) -> str:
    with connection.cursor() as cursor:
        return f"({connection.introspection.get_primary_key_column(cursor, table)})"
