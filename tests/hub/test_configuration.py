"""What stands in docs/configuration.md is what the settings read, and a wrong value is refused in one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from events import redis_client
from hub import env
from hub.local import redis as local_redis

ROOT = Path(__file__).resolve().parents[2]


def manage(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_documentation_names_exactly_what_is_read() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}
    assert documented == env.KNOWN


def test_every_variable_is_read_in_one_place() -> None:
    readers = {
        str(path.relative_to(ROOT))
        for package in ("hub", "web", "consumers", "notifications", "accounts", "events")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"os\.(environ\.get|environ\[|getenv)", path.read_text(encoding="utf-8"))
    }
    assert readers <= {"hub/env.py"}


@pytest.mark.parametrize(
    ("value", "read"),
    [("1", True), ("yes", True), ("ON", True), ("0", False), ("false", False), (" no ", False)],
)
def test_a_flag_is_read(monkeypatch: pytest.MonkeyPatch, value: str, read: bool) -> None:
    monkeypatch.setenv("HUB_X", value)
    assert env.flag("HUB_X", default=not read) is read


@pytest.mark.parametrize(
    ("value", "read", "said"),
    [
        ("maybe", lambda: env.flag("HUB_X", default=True), "use 1 or 0"),
        ("x", lambda: env.number("HUB_X", 1), "use a whole number"),
        ("70000", lambda: env.number("HUB_X", 1, most=65535), "a number from 0 to 65535"),
        ("z", lambda: env.choice("HUB_X", "a", "a", "b"), "use one of a, b"),
        ("http://x", lambda: env.redis("HUB_X", ""), "rediss://"),
        ("redis://h:port/0", lambda: env.redis("HUB_X", ""), "no address"),
    ],
)
def test_a_wrong_value_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, value: str, read: object, said: str
) -> None:
    monkeypatch.setenv("HUB_X", value)
    with pytest.raises(ImproperlyConfigured, match=re.escape(said)) as refusal:
        read()  # type: ignore[operator]
    assert "HUB_X" in str(refusal.value)


def test_a_refusal_keeps_the_password_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUB_X", "http://me:swordfish@host/0")
    with pytest.raises(ImproperlyConfigured) as refusal:
        env.redis("HUB_X", "")
    assert "swordfish" not in str(refusal.value)
    with pytest.raises(ImproperlyConfigured) as refusal:
        env.database("mysql://me:swordfish@host/name", Path())
    assert "swordfish" not in str(refusal.value)


@pytest.mark.parametrize(
    "address",
    [
        "{}://me:tul/ip@host:5432/name",
        "{}://me:tul#ip@host/name",
        "{}://me:tul?ip@host/name",
        "{}://me:tul[ip@host/name",
        "{}:/me:tulip@host/name",
        "tulip@host/name",
        "tul-ip://host",
    ],
)
@pytest.mark.parametrize("scheme", ["postgres", "redis", "smtp", "http"])
def test_no_part_of_an_address_is_printed(
    monkeypatch: pytest.MonkeyPatch, address: str, scheme: str
) -> None:
    address = address.format(scheme)
    monkeypatch.setenv("HUB_X", address)
    for read in (
        lambda: env.database(address, Path()),
        lambda: env.redis("HUB_X", ""),
        lambda: env.mail(address),
    ):
        try:
            read()
        except ImproperlyConfigured as refusal:
            said = str(refusal)
            assert "tul" not in said and "ip@" not in said
            assert "escaped" in said


def test_a_secret_is_made_once_and_kept_private(tmp_path: Path) -> None:
    made = env.secret("HUB_X", tmp_path)
    assert len(made) >= 50
    assert env.secret("HUB_X", tmp_path) == made
    kept = tmp_path / "secrets" / "hub_x"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in kept.parent.iterdir()] == ["hub_x"]


def test_a_secret_comes_from_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("from the file, which is long enough\n", encoding="utf-8")
    monkeypatch.setenv("HUB_X_FILE", str(tmp_path / "key"))
    assert env.secret("HUB_X", tmp_path) == "from the file, which is long enough"
    monkeypatch.setenv("HUB_X_FILE", str(tmp_path / "nowhere"))
    with pytest.raises(ImproperlyConfigured, match="HUB_X_FILE"):
        env.secret("HUB_X", tmp_path)


@pytest.mark.parametrize("value", ["", "x" * 31])
@pytest.mark.parametrize("source", ["HUB_X", "HUB_X_FILE", "secrets"])
def test_a_secret_that_is_short_is_refused_wherever_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, value: str
) -> None:
    path = tmp_path / "secrets" / "hub_x"
    path.parent.mkdir()
    if source != "HUB_X":
        path.write_text(f"{value}\n", encoding="utf-8")
    if source == "HUB_X":
        monkeypatch.setenv("HUB_X", value or " short ")
    elif source == "HUB_X_FILE":
        monkeypatch.setenv("HUB_X_FILE", str(path))
    with pytest.raises(ImproperlyConfigured, match="32 or more") as refusal:
        env.secret("HUB_X", tmp_path)
    assert "HUB_X" in str(refusal.value) and "xxx" not in str(refusal.value)
    assert len(str(refusal.value).splitlines()) == 1


def test_a_database_address_is_taken_apart(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s e\n", encoding="utf-8")
    found = env.database("postgres://me:p%40ss@db:5433/hub?sslmode=require", tmp_path)
    assert (found["NAME"], found["USER"], found["PASSWORD"]) == ("hub", "me", "p@ss")
    assert (found["HOST"], found["PORT"]) == ("db", "5433")
    assert found["OPTIONS"]["sslmode"] == "require"  # type: ignore[index]
    by_file = env.database("postgres://me@db/hub", tmp_path, str(tmp_path / "password"))
    assert by_file["PASSWORD"] == "s e"
    assert env.database("sqlite:////srv/hub.db", tmp_path)["NAME"] == "/srv/hub.db"
    assert env.database("", tmp_path)["NAME"] == str(tmp_path / "db.sqlite3")


@pytest.mark.parametrize(
    ("address", "for_celery"),
    [
        ("redis://u:p@h:6379/3", "redis://u:p@h:6379/3"),
        ("rediss://h/0?ssl_ca_certs=/ca.pem", "rediss://h/0?ssl_ca_certs=/ca.pem"),
        ("unix:///run/r.sock", "redis+socket:///run/r.sock?virtual_host=0"),
        ("unix://u:p@/run/r.sock?db=2", "redis+socket://u:p@/run/r.sock?virtual_host=2"),
    ],
)
def test_a_redis_address_is_spelt_for_celery(address: str, for_celery: str) -> None:
    assert env.broker(address) == for_celery


def test_the_redis_password_comes_from_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "password").write_text("p/w\n", encoding="utf-8")
    monkeypatch.setenv("HUB_X", "redis://redis:6379/0")
    address = env.redis("HUB_X", "", str(tmp_path / "password"))
    assert address == "redis://:p%2Fw@redis:6379/0"


def test_tasks_bear_the_mark_of_this_installation() -> None:
    prefix = settings.CELERY_BROKER_TRANSPORT_OPTIONS["global_keyprefix"]
    assert prefix == f"{redis_client.prefix()}:"


def test_mail_goes_where_the_address_says() -> None:
    found = env.mail("smtp://me:p%40ss@mail.example.org")
    assert (found["EMAIL_HOST"], found["EMAIL_PORT"]) == ("mail.example.org", 587)
    assert (found["EMAIL_HOST_PASSWORD"], found["EMAIL_USE_TLS"]) == ("p@ss", True)
    assert env.mail("smtps://mail.example.org")["EMAIL_USE_SSL"] is True
    with pytest.raises(ImproperlyConfigured, match="SMTP_URL"):
        env.mail("mail.example.org")


def test_the_socket_of_our_own_redis_fits_the_kernel(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-long-directory-name"] * 6)
    for data_dir in (Path("/srv/hub"), deep):
        socket = local_redis.address(data_dir).removeprefix("unix://")
        assert len(socket) <= local_redis.LONGEST_SOCKET_PATH
    assert local_redis.address(deep) != local_redis.address(deep / "b")


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HUB_PORT", "eighty"),
        ("HUB_URL", "ftp://hub"),
        ("HUB_LAYER", "carrier-pigeon"),
        ("DATABASE_URL", "mysql://db/hub"),
        ("REDIS_URL", "localhost"),
        ("HUB_APPS", "no_such_app"),
        ("HUB_APPS", "nope.nope"),
        ("ALLOWED_HOSTS", "http://x"),
        ("ALLOWED_HOSTS", "x:8000"),
        ("HUB_ORIGINS", "foo"),
        ("HUB_ORIGINS", "https://x/path"),
        ("HUB_URL", "https://x/path"),
        ("HUB_GROUPS", "sales team"),
        ("SECRET_KEY", "short"),
        ("HUB_LAYER_KEY", "short"),
        ("HUB_IS_STAFF", "no.such.predicate"),
    ],
)
def test_a_wrong_setting_is_one_line_and_no_trace(
    tmp_path: Path, variable: str, value: str
) -> None:
    ended = manage("up", HUB_DATA_DIR=str(tmp_path), **{variable: value})
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert len(ended.stderr.splitlines()) == 1
    assert variable in ended.stderr


@pytest.mark.parametrize(
    "name",
    ["x", "hub.example.org", ".example.org", "*", "10.0.0.7", "[::1]", "a_b-c", "xn--bcher-kva.de"],
)
def test_every_host_name_is_accepted(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("HUB_X", name)
    assert env.hosts("HUB_X") == [name]


@pytest.mark.parametrize(
    "origin", ["http://x", "https://x:8443", "https://*.example.org", "http://[::1]:8000"]
)
def test_every_origin_is_accepted(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    monkeypatch.setenv("HUB_X", origin)
    assert env.origins("HUB_X") == [origin]


@pytest.mark.parametrize(
    ("further", "trusted"),
    [
        ("", ["https://hub.example.org"]),
        ("https://a.example.org", ["https://hub.example.org", "https://a.example.org"]),
    ],
)
def test_further_origins_are_added_to_our_own(
    tmp_path: Path, further: str, trusted: list[str]
) -> None:
    asked = manage(
        *("shell", "--no-imports", "-c"),
        "from django.conf import settings; print(*settings.CSRF_TRUSTED_ORIGINS)",
        HUB_DATA_DIR=str(tmp_path),
        HUB_URL="https://hub.example.org",
        HUB_ORIGINS=further,
    )
    assert asked.stdout.split() == trusted, asked.stderr


def test_production_settings_pass_djangos_own_check(tmp_path: Path, real_redis: str) -> None:
    ended = manage(
        *("check", "--deploy", "--fail-level", "WARNING"),
        HUB_DATA_DIR=str(tmp_path),
        HUB_URL="https://hub.example.org",
        REDIS_URL=real_redis,
    )
    assert ended.returncode == 0, ended.stderr


def test_the_demo_does_not_pass_for_production(tmp_path: Path, real_redis: str) -> None:
    ended = manage(
        *("check", "--deploy", "--fail-level", "WARNING"),
        HUB_DATA_DIR=str(tmp_path),
        HUB_URL="https://hub.example.org",
        HUB_DEMO="1",
        REDIS_URL=real_redis,
    )
    assert ended.returncode == 1
    assert "hub.W002" in ended.stderr
