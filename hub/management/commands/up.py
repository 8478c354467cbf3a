"""`manage.py up`: the whole hub in one terminal, until Ctrl-C."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import http.client
import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import redis
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connections

from hub import checks, first_run, in_use, sign_of_life, static_files
from hub.local.processes import Child, GaveUp, stop
from hub.local.redis import NoRedis
from hub.local.redis import command as redis_command

REDIS_PATIENCE: Final = 10.0
"""Seconds until Redis must answer; an append-only file of some size takes a while to load."""
REMINDER: Final = 15.0
"""Seconds between two lines about what the hub still waits for."""
STOP_PATIENCE: Final = 3.0
"""Seconds from the signal for server, worker and beat; Redis follows, and all are gone within five: after these
by force, which loses nothing, since the log and Redis' file are durable."""
REDIS_STOP_PATIENCE: Final = 3.6
"""Seconds from the signal, too."""


class Stopped(BaseException):
    """Somebody asked us to stop. No `except Exception` on the way may keep it."""


class Command(BaseCommand):
    help = "Run Redis, the server, a worker and beat until Ctrl-C."
    requires_system_checks = []
    requires_migrations_checks = False

    _asked_at: float | None = None
    """When somebody asked us to stop."""
    _at_once = False

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=settings.HUB_PORT)
        parser.add_argument("--host", default=settings.HUB_BIND)

    def handle(self, *args: Any, port: int, host: str, verbosity: int, **options: Any) -> None:
        began = time.monotonic()
        logging.disable(logging.INFO)  # the children have their own
        self._mouth = threading.Lock()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop_soon)
        children: list[Child] = []
        try:
            self._check()
            first_run.keep_private()
            with _only_one_here(settings.HUB_DATA_DIR):
                _refuse_taken_port(host, port)
                in_use.stay()
                self._run(children, host, port, loud=verbosity > 1, began=began)
        except Stopped:
            pass
        except (NoRedis, GaveUp, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from None
        except OperationalError as error:
            reason = str(error).strip().splitlines()[0]
            raise CommandError(
                f"The database does not answer ({reason}): check DATABASE_URL."
            ) from None
        finally:
            for child in children:
                child.loud = False
            asked_at = self._asked_at or time.monotonic()
            users = [child for child in children if child.name != "redis"]
            stop(users, asked_at + STOP_PATIENCE)
            stop(children, asked_at + REDIS_STOP_PATIENCE)  # it outlives those who use it
        self._say("Stopped.")
        os._exit(
            0
        )  # Python's own farewell takes a second when the machine is busy, and has nothing left to do

    def _run(
        self, children: list[Child], host: str, port: int, *, loud: bool, began: float
    ) -> None:
        environ = dict(os.environ, HUB_PORT=str(port))
        environ.setdefault("HUB_LOG", "text")
        environ["PYTHONUNBUFFERED"] = "1"
        environ["CELERY_SKIP_CHECKS"] = "1"  # they load every page, which a worker never shows
        if settings.HUB_OWN_REDIS:
            own = Child(
                "redis", redis_command(settings.HUB_DATA_DIR), environ, self._say, loud=loud
            )
            children.append(own)
            own.start()
        self._wait_for_redis(children)
        with self._ended_at_once():
            first_run.migrate()
            static_files.collect()
            address = first_run.address(port)
            sign_ins = first_run.sign_ins(address)
            connections.close_all()

        *first, beat = (
            Child(name, command, environ, self._say, ends_by, loud=loud)
            for name, command, ends_by in _programs(host, port)
        )
        for child in first:
            children.append(child)
            child.start()
        self._wait_until_ready(children, host, port)
        # Nobody waits for beat: until now the processors were better used by the others.
        children.append(beat)
        beat.start()
        for child in children:
            child.loud = loud or child.name != "redis"
        self._say(f"\nHub is ready after {time.monotonic() - began:.1f} s: {address}\n\n")
        self._say(f"{sign_ins}\nCtrl-C stops it.".lstrip())
        while True:
            self._supervise(children)

    def _check(self) -> None:
        for message in checks.at_start():
            told = f"{message.msg} {message.hint or ''}".strip()
            if message.is_serious():
                raise CommandError(told)
            self._say(f"Warning: {told}")

    def _wait_for_redis(self, children: list[Child]) -> None:
        deadline = time.monotonic() + (REDIS_PATIENCE if children else 2)
        while True:
            try:
                with self._ended_at_once():
                    sign_of_life.forget()
                return
            except redis.RedisError as error:
                if children and not children[0].alive():
                    raise CommandError(
                        f"Redis did not start:\n{children[0].last_words()}"
                    ) from None
                if time.monotonic() > deadline:
                    raise CommandError(
                        f"Redis does not answer ({error}): check REDIS_URL, or unset it."
                    ) from None
            time.sleep(0.02)

    def _wait_until_ready(self, children: list[Child], host: str, port: int) -> None:
        remind_at = time.monotonic() + REMINDER
        while True:
            with self._ended_at_once():
                missing = _missing(host, port)
            if not missing:
                return
            if time.monotonic() > remind_at:
                self._say(f"Still waiting for: {missing}")
                remind_at = time.monotonic() + REMINDER
            self._supervise(children, pause=0.05)

    def _supervise(self, children: list[Child], pause: float = 0.25) -> None:
        self._obey()
        for child in children:
            child.watch()
        time.sleep(pause)

    def _stop_soon(self, number: int, frame: object) -> None:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
        if self._at_once:
            self._at_once = False
            raise Stopped

    def _obey(self) -> None:
        if self._asked_at is not None:
            raise Stopped

    @contextlib.contextmanager
    def _ended_at_once(self) -> Iterator[None]:
        """What may take long and can be left half-way. Elsewhere a process just started could go unnoticed."""
        self._at_once = True
        try:
            self._obey()
            yield
        finally:
            self._at_once = False

    def _say(self, line: str) -> None:
        with self._mouth, contextlib.suppress(BrokenPipeError):
            self.stdout.write(line)
            self.stdout.flush()


@contextlib.contextmanager
def _only_one_here(data_dir: Path) -> Iterator[None]:
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (data_dir / "up.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CommandError(
                f"A hub is already running on {data_dir}: stop it, or set HUB_DATA_DIR and HUB_PORT."
            ) from None
        yield


def _refuse_taken_port(host: str, port: int) -> None:
    try:
        family, kind, _, _, where = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(
                f"Port {port} is in use: stop what listens there, or set HUB_PORT to another."
            ) from None
        raise CommandError(
            f"Cannot listen on {host} port {port} ({error.strerror}): set HUB_BIND or HUB_PORT."
        ) from None


def _programs(host: str, port: int) -> list[tuple[str, list[str], signal.Signals]]:
    """Name, command, and the signal that ends it."""
    celery = [sys.executable, "-m", "celery", "-A", "hub", "--quiet"]
    server = [sys.executable, "-m", "hub.server", "--host", host, "--port", str(port)]
    worker = [*celery, "worker", "--without-gossip", "--without-mingle"]
    beat_file = settings.HUB_DATA_DIR / "beat-schedule"
    return [
        ("server", server, signal.SIGTERM),
        # By SIGQUIT a worker hands what it does not finish within a second back to the queue.
        ("worker", worker, signal.SIGQUIT),
        ("beat", [*celery, "beat", "--schedule", str(beat_file), "--pidfile", ""], signal.SIGTERM),
    ]


def _missing(host: str, port: int) -> str:
    """What /readyz still waits for; empty when all is there."""
    try:
        if not sign_of_life.seen():  # cheaper than its page, whose answers are half a second old
            return "the worker"
    except redis.RedisError:
        return "redis"
    target = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    probe = http.client.HTTPConnection(target, port, timeout=2)
    try:
        probe.request("GET", "/readyz")
        answer = probe.getresponse()
        body = answer.read()
        if answer.status == 200:
            return ""
        checks = json.loads(body).get("checks", {})
        return ", ".join(name for name, state in checks.items() if state != "ok") or "readiness"
    except (OSError, http.client.HTTPException, ValueError):
        return "the server"
    finally:
        probe.close()
