"""Which addresses webhooks may have: of the Internet only, unless the operator names the host.

A URL is read by `yarl`, which also reads it when it is called: two readers may disagree.
"""

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass

from yarl import URL

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_OF_CLOUDS = [ipaddress.IPv4Network(net) for net in ("168.63.129.16/32", "192.0.0.0/24")]
"""Services inside the networks of Azure and Oracle; Python may count them as global."""
_LABEL = r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_PRIVATE_NAMES = ("localhost", "local", "internal", "lan", "home.arpa", "onion")
_HTTPS, _HIGH_PORT = 443, 1024
_BLANK = re.compile(r"[\x00-\x20\x7f]")

ALLOWED = "an https:// address on the Internet, with port 443 or one from 1024 on"


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the Internet, and not of a host or a network."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
        if inner is None:
            return ip in _GLOBAL_UNICAST and ip.is_global
        ip = inner
    if ip.is_multicast or ip.is_reserved or any(ip in network for network in _OF_CLOUDS):
        return False
    return ip.is_global


def as_compared(host: str) -> str:
    """Return a host in the one form in which hosts are compared."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return host.lower().removesuffix(".")


@dataclass(frozen=True)
class Addresses:
    """The rules; `allow` holds the hosts that the operator named, to which few of them apply."""

    allow: Collection[str] = ()

    def is_named(self, url: URL) -> bool:
        """Tell whether the operator named the host: it may have any address and no TLS."""
        return as_compared(url.raw_host or "") in self.allow

    def fault_in(self, text: str) -> str | None:
        """Return what is wrong with a URL, as far as it shows without asking DNS."""
        try:
            url = URL(text)
        except ValueError:  # also of a host's name that IDNA does not know
            return "is not a valid address"
        host = as_compared(url.raw_host or "")
        if url.scheme not in ("http", "https") or not host:
            return "is not an https:// address"
        if "@" in url.raw_authority or _BLANK.search(text):
            return "must have neither a user's name, a password nor blanks"
        if self.is_named(url):
            return None if url.port else "has no valid port"
        if url.scheme != "https":
            return "must begin with https://"
        if url.port != _HTTPS and (url.port or 0) < _HIGH_PORT:
            return f"has a port that webhooks may not use: {url.port}"
        return _fault_in_host(host)


def _fault_in_host(host: str) -> str | None:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return None if is_public(host) else "is in a private or reserved network"
    if not _NAME.fullmatch(host) or len(host) > 253:
        return "has no valid host name"
    if _NUMBER.fullmatch(host.rpartition(".")[2]):
        return "has a host that is neither a name nor an IP address as usually written"
    if "." not in host or host.endswith(tuple(f".{name}" for name in _PRIVATE_NAMES)):
        return "has a host name of a private network"
    return None
