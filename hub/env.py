"""Reads the environment: every variable the hub knows passes through here once.

Each reader refuses what it does not understand with one sentence that names the variable and what is accepted.
`KNOWN` fills as settings are read, so that the documentation can be compared with it.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit, urlunsplit

from django.core.exceptions import ImproperlyConfigured

KNOWN: set[str] = set()
_SHORTEST_SECRET: Final = 32
"""Characters; what signs sessions or encrypts must not be guessed."""
_NAME: Final = r"[^\W_](?:[\w-]*[^\W_])?(?:\.[\w-]+)*\.?|\[[0-9a-fA-F:.]+\]"
_HOST: Final = re.compile(rf"\.?(?:{_NAME})")
_ORIGIN_HOST: Final = re.compile(rf"(?:\*\.)?(?:{_NAME})(?::[0-9]{{1,5}})?")
_ESCAPE: Final = "special characters in user and password escaped, as %40 for @"


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


def hosts(name: str, default: str = "") -> list[str]:
    """Names as they stand in a Host header, ports left out: `hub.example.org`, `.example.org`, `[::1]` or `*`."""
    found = items(name, default)
    for host in found:
        if host != "*" and not _HOST.fullmatch(host):
            raise ImproperlyConfigured(
                f"{name} names {host!r}: use host names without scheme, port and path, "
                "as hub.example.org, .example.org for all below it, or *."
            )
    return found


def origins(name: str, default: str = "") -> list[str]:
    """`https://hub.example.org`, with a port where there is one; `https://*.example.org` for all below."""
    found = items(name, default)
    for origin in found:
        scheme, _, host = origin.partition("://")
        if scheme not in {"http", "https"} or not _ORIGIN_HOST.fullmatch(host):
            raise ImproperlyConfigured(
                f"{name} names {origin!r}: use scheme://host or scheme://host:port, "
                "as https://hub.example.org, without a path."
            )
    return found


def secret(name: str, data_dir: Path) -> str:
    """The variable itself, else the file that `<name>_FILE` names, else one generated into the data directory."""
    given = text(name)
    named = text(f"{name}_FILE")
    if given:
        return _long_enough(name, given)
    if named:
        return _long_enough(f"{name}_FILE, {named!r},", _read(f"{name}_FILE", named))
    path = data_dir / "secrets" / name.lower()
    try:
        found = kept(path, lambda: secrets.token_urlsafe(48))
        return _long_enough(f"{name}, read from {str(path)!r},", found)
    except OSError as error:
        raise ImproperlyConfigured(
            f"{name} is not set and none can be written to {error.filename} ({error.strerror}): "
            f"set {name}, {name}_FILE or HUB_DATA_DIR."
        ) from None


def kept(path: Path, make: Callable[[], str]) -> str:
    """What the file holds; made once, with mode 600. Processes that start together agree on the first one."""
    with contextlib.suppress(FileNotFoundError):
        return path.read_text(encoding="utf-8").strip()
    path.parent.parent.mkdir(parents=True, exist_ok=True, mode=0o700)  # `parents` knows no mode
    path.parent.mkdir(exist_ok=True, mode=0o700)
    draft = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    draft.touch(mode=0o600)
    draft.write_text(make() + "\n", encoding="utf-8")
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)  # unlike a rename, fails when another process was first
    draft.unlink()
    return path.read_text(encoding="utf-8").strip()


def database(url: str, data_dir: Path, password_file: str = "") -> dict[str, object]:
    """Django's settings for `sqlite:///path`, or `postgres://user:password@host:port/name?sslmode=…`."""
    if not url:
        return _sqlite(data_dir / "db.sqlite3")
    parts = _split("DATABASE_URL", url)
    if parts.scheme == "sqlite":
        return _sqlite(Path(unquote(parts.path.removeprefix("/"))))
    if parts.scheme not in {"postgres", "postgresql"} or not parts.path.strip("/"):
        raise ImproperlyConfigured(
            f"DATABASE_URL {_kind(url)}: "
            f"use sqlite:///path or postgres://user:password@host/name, {_ESCAPE}."
        )
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    password = unquote(parts.password or "")
    if not password and password_file:
        password = _read("DATABASE_PASSWORD_FILE", password_file)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.removeprefix("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": password,
        "HOST": query.pop("host", unquote(parts.hostname or "")),
        "PORT": str(parts.port or ""),
        "CONN_HEALTH_CHECKS": True,  # a connection that a restart killed is replaced before it is lent
        "OPTIONS": {
            # A pool asks a server that is away less and less often, each time for twice as long, unless it gives up
            # soon; then whoever needs a connection next lets it ask again.
            "pool": {"min_size": 0, "max_size": 16, "timeout": 1.5, "reconnect_timeout": 1},
            "connect_timeout": 2,
            "tcp_user_timeout": 3000,  # milliseconds; a host that vanished answers nothing at all
            "keepalives": 1,
            "keepalives_idle": 3,
            "keepalives_interval": 1,
            "keepalives_count": 3,
            "options": "-c lock_timeout=5s -c idle_in_transaction_session_timeout=30s",
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


def redis(name: str, default: str, password_file: str = "") -> str:
    """An address for redis-py: `redis://`, `rediss://` or `unix://`, with user, password and database."""
    value = text(name, default)
    parts = _split(name, value)
    if parts.scheme not in {"redis", "rediss", "unix"} or not (parts.hostname or parts.path):
        raise ImproperlyConfigured(
            f"{name} {_kind(value)}: use redis://user:password@host:6379/0, "
            f"rediss://… (TLS) or unix:///path?db=0, {_ESCAPE}."
        )
    if not password_file or parts.password is not None:
        return value
    password = quote(_read("REDIS_PASSWORD_FILE", password_file), safe="")
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{parts.username or ''}:{password}@{host}"))


def broker(url: str) -> str:
    """A Redis address in Celery's spelling: `unix:///path?db=1` becomes `redis+socket:///path?virtual_host=1`."""
    parts = urlsplit(url)
    if parts.scheme != "unix":
        return url
    database_number = parse_qs(parts.query).get("db", ["0"])[-1]
    user = f"{parts.username or ''}:{parts.password}@" if parts.password else ""
    return f"redis+socket://{user}{parts.path}?virtual_host={database_number}"


def mail(url: str) -> dict[str, object]:
    """Django's mail settings for `smtp://user:password@host:587` (`smtps://` for TLS from the first byte)."""
    if not url:
        return {"EMAIL_BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
    parts = _split("SMTP_URL", url)
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname:
        raise ImproperlyConfigured(
            f"SMTP_URL {_kind(url)}: use smtp://user:password@host:587 or smtps://…, {_ESCAPE}."
        )
    query = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    secure = parts.scheme == "smtps"
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or (465 if secure else 587),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": secure,
        "EMAIL_USE_TLS": not secure and query.get("starttls", "1") != "0",
        "EMAIL_TIMEOUT": 5,  # seconds
    }


def _read(name: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ImproperlyConfigured(
            f"{name} is {path!r} and cannot be read ({error.strerror}): name a file with the secret."
        ) from None


def _split(name: str, url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises for what is no port
    except ValueError:  # its text may hold part of a password
        raise ImproperlyConfigured(
            f"{name} is no address: use scheme://user:password@host:port/name, {_ESCAPE}."
        ) from None
    return parts


def _kind(url: str) -> str:
    """All that an error tells of an address: a password with a special character may lie in any part of it."""
    scheme, found, _ = url.partition("://")
    if found and scheme.isalnum() and len(scheme) <= 20:
        return f"begins with {scheme}:// and is not understood"
    return "has no scheme"


def _long_enough(what: str, value: str) -> str:
    if len(value) < _SHORTEST_SECRET:
        raise ImproperlyConfigured(
            f"{what} has {len(value)} characters: use {_SHORTEST_SECRET} or more random ones."
        )
    return value
