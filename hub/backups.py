"""One file with all of a hub: its rows, the files among them, and its secrets; as they stood at one moment.

A zip: `manifest.json`, `secrets/…`, and either `database.sqlite3`, a copy by SQLite's own backup, or a file of rows
for each table, as PostgreSQL's COPY writes them, all from one snapshot. Both are taken beside a hub at work.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from django.conf import settings
from django.core.management import call_command
from django.db import DatabaseError, connection, transaction
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.recorder import MigrationRecorder
from django.utils import timezone

from events import epoch
from hub import in_use

FORMAT: Final = 1
_PIECE: Final = 1024 * 1024
_PAGES: Final = 1000  # of SQLite, at a time
_DATABASE: Final = "database.sqlite3"
_MANIFEST: Final = "manifest.json"

Tell = Callable[[str], None]
Secrets = Mapping[Path, bytes]


class Refused(Exception):
    """It can't be done; one line says why and what helps."""


def write(target: Path, tell: Tell) -> None:
    """Raises Refused. Whatever ends it early leaves no file."""
    if target.exists():
        raise Refused(f"{target} exists: name a new file.")
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with _private(draft) as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
                archive.writestr(_MANIFEST, json.dumps(_manifest()))
                for secret in sorted((settings.HUB_DATA_DIR / "secrets").glob("[!.]*")):
                    archive.writestr(f"secrets/{secret.name}", secret.read_bytes())
                _write_sqlite(archive, draft, tell) if _is_sqlite() else _write_rows(archive, tell)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, target)  # unlike a rename, never over a file that came meanwhile
    except FileExistsError:
        raise Refused(f"{target} exists: name a new file.") from None
    except sqlite3.Error as error:
        raise Refused(f"The database could not be copied ({error}).") from None
    except OSError as error:
        raise Refused(f"{target} can't be written ({error.strerror}).") from None
    finally:
        draft.unlink(missing_ok=True)


def read(source: Path, tell: Tell) -> None:
    """Fill an empty database from a backup, and begin a new epoch. Raises Refused.

    All or nothing: the rows appear at once, with their tables up to date and under the new epoch, as the last thing
    that happens. Whatever ends it earlier, SIGKILL too, leaves the database empty, and the same command does it.
    """
    try:
        archive = zipfile.ZipFile(source)
        manifest = json.loads(archive.read(_MANIFEST))
        migrations = {(app, name) for app, name in manifest["migrations"]}
        if manifest["format"] != FORMAT:
            raise Refused(
                f"{source} was written by another version of the hub: restore it with that one."
            )
    except OSError as error:
        raise Refused(f"{source} can't be read ({error.strerror}).") from None
    except (zipfile.BadZipFile, KeyError, ValueError, TypeError):
        raise Refused(f"{source} is no backup of a hub, or is damaged.") from None
    with archive, _alone():
        if manifest["database"] != connection.vendor:
            raise Refused(
                f"{source} is of {manifest['database']}: set DATABASE_URL to such a database."
            )
        if migrations - set(MigrationExecutor(connection).loader.disk_migrations):
            raise Refused(f"{source} is of a newer hub: restore it with that version.")
        _refuse_what_is_in_use()
        try:
            secrets = _secrets(archive)
            if _is_sqlite():
                _read_sqlite(archive, secrets, tell)
            else:
                _read_rows(archive, migrations, secrets, tell)
        except (zipfile.BadZipFile, zlib.error, EOFError, KeyError, sqlite3.DatabaseError):
            raise Refused(f"{source} is damaged: nothing was restored.") from None
        except OSError as error:
            raise Refused(f"Nothing was restored ({error.strerror}).") from None
        except DatabaseError as error:
            raise Refused(f"Nothing was restored ({str(error).strip()}).") from None
        connection.close()


def _is_sqlite() -> bool:
    return connection.vendor == "sqlite"


def _private(path: Path) -> IO[bytes]:
    """A new file that nobody else reads."""
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb")


def _manifest() -> dict[str, Any]:
    return {
        "format": FORMAT,
        "at": timezone.now().isoformat(),
        "database": connection.vendor,
        "migrations": sorted(MigrationRecorder(connection).applied_migrations()),
    }


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    try:
        with in_use.alone():
            yield
    except in_use.Taken:
        raise Refused("A hub is at work on this database: stop it first.") from None


def _bring_up_to_date() -> None:
    call_command("migrate", interactive=False, verbosity=0)
    epoch.renew()


def _refuse_what_is_in_use() -> None:
    tables = set(connection.introspection.table_names())
    with connection.cursor() as cursor:
        for table in ("auth_user", "hub_events_event", "hub_tasks_job"):
            if table in tables:
                cursor.execute(f"SELECT 1 FROM {table} LIMIT 1")  # noqa: S608 - named above
                if cursor.fetchone():
                    raise Refused(
                        "The database is not empty: name a new one in DATABASE_URL or HUB_DATA_DIR."
                    )
        if not _is_sqlite():
            cursor.execute(
                "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
                " AND backend_type = 'client backend'"
            )
            if cursor.fetchone():
                raise Refused("Somebody is connected to the database: stop the hub first.")


# --- SQLite -------------------------------------------------------------------------------------------------------


def _write_sqlite(archive: zipfile.ZipFile, draft: Path, tell: Tell) -> None:
    copy = draft.with_name(f"{draft.name}.db")
    try:
        _private(copy).close()
        with (
            contextlib.closing(sqlite3.connect(connection.settings_dict["NAME"])) as live,
            contextlib.closing(sqlite3.connect(copy)) as kept,
        ):
            live.execute(
                "BEGIN"
            )  # the copy holds to this moment, else every write would begin it anew
            live.execute("SELECT 1 FROM sqlite_master").fetchone()
            live.backup(kept, pages=_PAGES, progress=_copied(tell), sleep=0)
        tell("Packing")
        archive.write(copy, _DATABASE)
    finally:
        copy.unlink(missing_ok=True)


def _copied(tell: Tell) -> Callable[[int, int, int], None]:
    def progress(status: int, left: int, total: int) -> None:
        tell(f"Copying: {100 * (total - left) // max(total, 1)} %")

    return progress


def _read_sqlite(archive: zipfile.ZipFile, secrets: Secrets, tell: Tell) -> None:
    """In a file of its own, which then takes the database's place."""
    place = Path(connection.settings_dict["NAME"])
    connection.close()
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = place.with_name(f"{place.name}.restore")
    _remove(draft)  # of one that was killed
    try:
        with archive.open(_DATABASE) as packed, _private(draft) as file:
            shutil.copyfileobj(packed, file, _PIECE)
        tell("Checking")
        with contextlib.closing(sqlite3.connect(draft)) as copy:
            if copy.execute("PRAGMA quick_check").fetchone() != ("ok",):
                raise sqlite3.DatabaseError("damaged")
        connection.settings_dict["NAME"] = str(draft)
        try:
            _bring_up_to_date()
        finally:
            connection.close()
            connection.settings_dict["NAME"] = str(place)
        _in_one_file(draft)
        _remove_beside(place)
        with _in_place(secrets):
            draft.replace(place)
        _sync(place.parent)
    finally:
        _remove(draft)


def _in_one_file(path: Path) -> None:
    """On the disk, with nothing beside it that belongs to it."""
    with contextlib.closing(sqlite3.connect(path)) as copy:
        if copy.execute("PRAGMA journal_mode=DELETE").fetchone() != ("delete",):
            raise Refused(f"Somebody reads {path}: nothing was restored.")
    _sync(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _remove_beside(path)


def _remove_beside(path: Path) -> None:
    for ending in ("-wal", "-shm", "-journal"):
        path.with_name(path.name + ending).unlink(missing_ok=True)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


# --- PostgreSQL ---------------------------------------------------------------------------------------------------


def _write_rows(archive: zipfile.ZipFile, tell: Tell) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for table in sorted(connection.introspection.table_names(cursor)):
            tell(f"Copying {table}")
            names = ", ".join(map(connection.ops.quote_name, _columns(cursor, table)))
            with (
                archive.open(f"rows/{table}", "w", force_zip64=True) as file,
                cursor.copy(f"COPY {connection.ops.quote_name(table)} ({names}) TO STDOUT") as rows,
            ):
                file.write(f"{names}\n".encode())
                for piece in rows:
                    file.write(piece)


def _columns(cursor: Any, table: str) -> list[str]:
    cursor.execute(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        " AND table_name = %s AND is_generated = 'NEVER' ORDER BY ordinal_position",
        [table],
    )
    return [name for (name,) in cursor.fetchall()]


def _read_rows(
    archive: zipfile.ZipFile, migrations: set[tuple[str, str]], secrets: Secrets, tell: Tell
) -> None:
    """Through the tables as they were, which are then brought up to date; all in one transaction."""
    executor = MigrationExecutor(connection)
    newer = set(executor.loader.applied_migrations) - migrations
    if newer:
        raise Refused("The database has newer tables than the backup: name a new, empty one.")
    graph = executor.loader.graph
    last = [
        node
        for node in sorted(migrations & set(graph.nodes))
        if not any(
            child.key in migrations and child.key[0] == node[0]
            for child in graph.node_map[node].children
        )
    ]
    with contextlib.ExitStack() as last_thing, transaction.atomic():
        executor.migrate(last)
        with connection.cursor() as cursor:
            tables = [
                name.removeprefix("rows/")
                for name in archive.namelist()
                if name.startswith("rows/")
            ]
            quoted = ", ".join(map(connection.ops.quote_name, tables))
            cursor.execute(f"TRUNCATE {quoted}")
            for table in tables:
                tell(f"Restoring {table}")
                with archive.open(f"rows/{table}") as file:
                    names = file.readline().decode().strip()
                    target = f"{connection.ops.quote_name(table)} ({names})"
                    with cursor.copy(f"COPY {target} FROM STDIN") as rows:
                        for piece in _pieces(file):
                            rows.write(piece)
                for column in _numbered(cursor, table):
                    name = connection.ops.quote_name(column)
                    cursor.execute(
                        f"SELECT setval(pg_get_serial_sequence(%s, %s), coalesce(max({name}), 1), max({name}) IS NOT NULL)"  # noqa: S608
                        f" FROM {connection.ops.quote_name(table)}",
                        [connection.ops.quote_name(table), column],
                    )
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # no table changes while one waits
        _bring_up_to_date()
        last_thing.enter_context(_in_place(secrets))  # and out again if the commit fails


def _numbered(cursor: Any, table: str) -> list[str]:
    """The columns whose values a sequence gives."""
    found = []
    for column in _columns(cursor, table):
        place = [connection.ops.quote_name(table), column]
        cursor.execute("SELECT pg_get_serial_sequence(%s, %s)", place)
        if cursor.fetchone()[0]:
            found.append(column)
    return found


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(_PIECE):
        yield piece


# --- secrets ------------------------------------------------------------------------------------------------------


def _secrets(archive: zipfile.ZipFile) -> Secrets:
    place = settings.HUB_DATA_DIR / "secrets"
    return {
        place / Path(name).name: archive.read(name)
        for name in archive.namelist()
        if name.startswith("secrets/")
    }


@contextlib.contextmanager
def _in_place(secrets: Secrets) -> Iterator[None]:
    """These, unless what is done under them fails."""
    former = {path: path.read_bytes() if path.exists() else None for path in secrets}
    try:
        for path, content in secrets.items():
            _put(path, content)
        yield
    except BaseException:
        for path, before in former.items():
            if before is None:
                path.unlink(missing_ok=True)
            else:
                _put(path, before)
        raise


def _put(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = path.with_name(f".{path.name}")
    draft.unlink(missing_ok=True)  # of one that was killed
    with _private(draft) as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
