"""Where a request comes from. Behind our proxy `hub.headers` has put the client's own address here already."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address

from django.http import HttpRequest


def address(request: HttpRequest) -> str:
    """The caller's IP address, or "" when it is unknown (a unix socket without a proxy's header)."""
    try:
        parsed = ip_address(request.META.get("REMOTE_ADDR", "").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(parsed)


def neighbourhood(address: str) -> str:
    """What counts as one place: an IPv4 address, or the /64 that one IPv6 customer gets."""
    if ":" not in address:
        return address
    return str(IPv6Network((address, 64), strict=False).network_address)
