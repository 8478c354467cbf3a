"""Reads the environment: every variable the hub knows passes through here once.

Each reader refuses what it does not understand with one sentence that names the variable and what is accepted.
`KNOWN` fills as settings are read, so that the documentation can be compared with it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

KNOWN: set[str] = set()


def text(name: str, default: str = "") -> str:
    KNOWN.add(name)
    return os.environ.get(name, "").strip() or default


def flag(name: str, *, default: bool) -> bool:
    value = text(name, "1" if default else "0").lower()
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} is {value!r}: use 1 or 0.")


def number(name: str, default: int, *, least: int = 0, most: int = 2**31) -> int:
    value = text(name, str(default))
    try:
        result = int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} is {value!r}: use a whole number.") from None
    if not least <= result <= most:
        raise ImproperlyConfigured(f"{name} is {result}: use a number from {least} to {most}.")
    return result


def choice(name: str, default: str, *accepted: str) -> str:
    value = text(name, default)
    if value not in accepted:
        raise ImproperlyConfigured(f"{name} is {value!r}: use one of {', '.join(accepted)}.")
    return value


def items(name: str, default: str = "") -> list[str]:
    """A comma-separated list, blanks dropped."""
    return [part.strip() for part in text(name, default).split(",") if part.strip()]


def secret(name: str, data_dir: Path) -> str:
    """The variable itself, else the file that `<name>_FILE` names, else one generated into the data directory.

    A generated secret is written once with mode 600; processes that start together agree on the first one.
    """
    given = text(name)
    if given:
        return given
    named = text(f"{name}_FILE")
    path = Path(named) if named else data_dir / "secrets" / name.lower()
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8").strip()
    if named:
        raise ImproperlyConfigured(f"{name}_FILE is {named!r}: there is no such file.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        draft.touch(mode=0o600)
        draft.write_text(secrets.token_urlsafe(48) + "\n", encoding="utf-8")
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)  # unlike a rename, fails when another process was first
        draft.unlink()
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"{name} is not set and none can be written to {path.parent} ({error.strerror}): "
            f"set {name} or {name}_FILE."
        ) from None


def database(url: str, data_dir: Path) -> dict[str, object]:
    """Django's settings for `sqlite:///path`, or `postgres://user:password@host:port/name?sslmode=…`."""
    if not url:
        return _sqlite(data_dir / "db.sqlite3")
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        return _sqlite(Path(unquote(parts.path.removeprefix("/"))))
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(
            f"DATABASE_URL starts with {parts.scheme!r}: use sqlite:///path or postgres://user:password@host/name."
        )
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    password = unquote(parts.password or "")
    if not password and text("DATABASE_PASSWORD_FILE"):
        password = Path(text("DATABASE_PASSWORD_FILE")).read_text(encoding="utf-8").strip()
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.removeprefix("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": password,
        "HOST": query.pop("host", unquote(parts.hostname or "")),
        "PORT": str(parts.port or ""),
        "OPTIONS": {
            "pool": {"min_size": 0, "max_size": 16, "timeout": 3},
            "connect_timeout": 3,
            **query,
        },
    }


def _sqlite(path: Path) -> dict[str, object]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path),
        "OPTIONS": {
            "timeout": 20,  # seconds to wait for the one writer
            "transaction_mode": "IMMEDIATE",  # a transaction that reads first and writes later cannot fail half-way
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
        },
        "TEST": {"NAME": str(path.with_name("test.sqlite3"))},
    }


def broker(url: str) -> str:
    """A Redis address in Celery's spelling: `unix:///path?db=1` becomes `redis+socket:///path?virtual_host=1`."""
    if not url.startswith("unix://"):
        return url
    parts = urlsplit(url)
    database_number = parse_qs(parts.query).get("db", ["0"])[-1]
    user = f"{parts.username or ''}:{parts.password}@" if parts.password else ""
    return f"redis+socket://{user}{parts.path}?virtual_host={database_number}"
