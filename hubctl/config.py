"""Where the hub is and the key for it: from the environment, else from a file that nobody else can read."""

from __future__ import annotations

import ipaddress
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hubctl.errors import Unusable

_KNOWN = {"url": str, "key": str, "allow_http": bool}


@dataclass(frozen=True)
class Config:
    url: str
    key: str = field(repr=False)


def load(environment: Mapping[str, str] = os.environ) -> Config:
    """Raises Unusable."""
    url, key = environment.get("HUB_URL", ""), environment.get("HUB_API_KEY", "")
    allow_http = environment.get("HUB_ALLOW_HTTP", "") == "1"
    path = config_file(environment)
    if not (url and key):
        stored = _read(path, must_exist="HUBCTL_CONFIG" in environment)
        url = url or stored.get("url", "")
        key = key or stored.get("key", "")
        allow_http = allow_http or stored.get("allow_http", False)
    if not url:
        raise Unusable(f'which hub? Set HUB_URL, or write url = "https://…" into {path}')
    if not key:
        raise Unusable(f'an API key is missing: set HUB_API_KEY, or write key = "…" into {path}')
    if not re.fullmatch(r"[!-~]+", key):
        raise Unusable(
            "the API key holds a space or another character that no key has: copy it anew"
        )
    return Config(_checked_url(url, allow_http=allow_http), key)


def config_file(environment: Mapping[str, str]) -> Path:
    if chosen := environment.get("HUBCTL_CONFIG"):
        return Path(chosen)
    base = environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "~"), ".config")
    return Path(base, "hubctl.toml").expanduser()


def _read(path: Path, *, must_exist: bool) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise Unusable(
                    f"others may read or change {path}, and it holds a key: chmod 600 {path}"
                )
            stored = tomllib.load(file)
    except FileNotFoundError:
        if must_exist:
            raise Unusable(f"{path} does not exist: HUBCTL_CONFIG names it") from None
        return {}
    except OSError as error:
        raise Unusable(f"{path} can't be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Unusable(f"{path} is no TOML: {error}") from None
    for name, value in stored.items():
        if name not in _KNOWN:
            raise Unusable(f"{path}: {name} is not known; there are {', '.join(_KNOWN)}")
        if not isinstance(value, _KNOWN[name]):
            raise Unusable(f"{path}: {name} must be a {_KNOWN[name].__name__}")
    return stored


def _checked_url(url: str, *, allow_http: bool) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in {"http", "https"} or parts.query or parts.fragment:
        raise Unusable("HUB_URL must read like https://hub.example.org")
    if parts.username is not None:
        raise Unusable("HUB_URL must hold no password; the key goes into HUB_API_KEY")
    if parts.scheme == "http" and not allow_http and not _is_this_machine(host):
        raise Unusable(
            f"the key would go to {host} unencrypted: use https://, or HUB_ALLOW_HTTP=1 where the network is trusted"
        )
    return url.rstrip("/")


def _is_this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
