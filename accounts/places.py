"""Where a request comes from."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from django.conf import settings
from django.http import HttpRequest


def address(request: HttpRequest) -> str:
    """The caller's IP address, or "" when it is unknown.

    `X-Real-IP` is believed only from a unix socket (no address at all) or from a proxy named in
    HUB_TRUSTED_PROXIES: everybody else could write there whatever they like.
    """
    peer = request.META.get("REMOTE_ADDR", "")
    if _is_trusted(peer, tuple(getattr(settings, "HUB_TRUSTED_PROXIES", ()))):
        return _valid(request.META.get("HTTP_X_REAL_IP", "")) or _valid(peer)
    return _valid(peer)


def neighbourhood(ip: str) -> str:
    """What counts as one place: an IPv4 address, or the /64 that one IPv6 customer gets."""
    if not ip:
        return ""
    parsed = ip_address(ip)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((parsed, 64), strict=False).network_address)
    return str(parsed)


def _valid(text: str) -> str:
    try:
        parsed = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)


def _is_trusted(peer: str, proxies: tuple[str, ...]) -> bool:
    if not _valid(peer):
        return True
    return any(ip_address(_valid(peer)) in network for network in _networks(proxies))


@lru_cache(maxsize=4)
def _networks(proxies: tuple[str, ...]) -> list[IPv4Network | IPv6Network]:
    return [ip_network(proxy, strict=False) for proxy in proxies]
