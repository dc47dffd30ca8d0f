"""Loopback addresses, and the Host header that goes with them.

A web page can make its own name resolve to 127.0.0.1 and then talk to us from the reader's browser (DNS rebinding);
what it cannot change is the Host header. So as long as we listen on loopback only, a request must name loopback.
"""

from __future__ import annotations

import ipaddress
import re

__all__ = ["host_allowed", "is_loopback"]

_HOST = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[^:\[\]]+)(?::[0-9]{0,5})?")


def is_loopback(address: str) -> bool:
    """Whether an address literal, or the name `localhost`, stays on this machine."""
    if address.lower() == "localhost":
        return True
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return (mapped or parsed).is_loopback


def host_allowed(values: list[bytes]) -> bool:
    """Whether the Host headers of a request name loopback (any port); HTTP/1.0 clients may send none."""
    if not values:
        return True
    match = _HOST.fullmatch(values[0]) if len(values) == 1 else None
    return match is not None and is_loopback(match[1].decode("latin-1").strip("[]"))
