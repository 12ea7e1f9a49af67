"""Tell callers on this host from a web page that somebody here merely visits.

A browser sends what any page asks for, to loopback too and without a key; a page whose name is made
to resolve to 127.0.0.1 even reads the answers. What gives it away is what the browser adds and no
page can change: `Host`, `Origin` and `Sec-Fetch-Site`.
"""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::([0-9]{1,5}))?", re.ASCII)
_DEFAULT_PORTS = {"http": 80, "https": 443}

Address = tuple[str, int | None]
"""A host name without brackets, and a port, None where none is named."""
Origin = tuple[str, Address] | str
"""Scheme and address, with the scheme's own port where none is named; text that has neither."""


def is_loopback(host: str) -> bool:
    """Return whether a host name or address always means this host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class SameOrigin:
    """The names a service answers to, and the pages that may use it without a key.

    `names` are host names besides loopback's, `origins` those of pages besides the service's own;
    `advice` is what the operator can do about a refusal.
    """

    names: frozenset[str] = frozenset()
    origins: frozenset[Origin] = frozenset()
    advice: str = field(default="use http://127.0.0.1", kw_only=True)

    @classmethod
    def of(cls, urls: Iterable[str], origins: Iterable[str], *, advice: str) -> "SameOrigin":
        """Return the rules of a service that is reached at loopback and at `urls`."""
        parts = [urlsplit(url) for url in urls if url]
        own = [f"{part.scheme}://{part.netloc}" for part in parts]
        names = frozenset(part.hostname for part in parts if part.hostname)
        return cls(names, frozenset(map(_origin, [*origins, *own])), advice=advice)

    def knows(self, headers: Headers) -> bool:
        """Return whether `Host` is one name, and one of this service's."""
        address = _host(headers)
        return address is not None and (is_loopback(address[0]) or address[0] in self.names)

    def refusal(self, scope: Any, *, shown_anywhere: bool = False) -> str | None:
        """Return why a request without a key is refused, or None if it is not.

        `shown_anywhere`: pages of any origin may show what this address answers with.
        """
        headers = Headers(scope=scope)
        if not self.knows(headers):
            return (
                "Without a key this service answers under loopback names only, such as 127.0.0.1 "
                f"or localhost, not under the Host of this request; {self.advice}"
            )
        if self._is_foreign(headers, scope.get("method", ""), shown_anywhere):
            return f"Without a key web pages of other origins are refused; {self.advice}"
        return None

    def _is_foreign(self, headers: Headers, method: str, shown_anywhere: bool) -> bool:
        origin = headers.get("origin")
        if origin is not None:
            return not self._is_own(_origin(origin), _host(headers))
        if headers.get("sec-fetch-site", "none") in ("none", "same-origin"):
            return False
        if method not in ("GET", "HEAD"):
            return True
        # What is left reads nothing: a link that somebody follows, or a picture that is shown.
        follows = headers.get("sec-fetch-mode") == "navigate"
        shows = headers.get("sec-fetch-dest") == "image"
        return not follows and not (shows and (shown_anywhere or bool(self.origins)))

    def _is_own(self, origin: Origin, host: Address | None) -> bool:
        if origin in self.origins:
            return True
        if isinstance(origin, str) or host is None:
            return False
        scheme, address = origin
        return address == (host[0], host[1] or _DEFAULT_PORTS[scheme])


LOOPBACK_ONLY = SameOrigin()


def _host(headers: Headers) -> Address | None:
    """Return the `Host`; None if it is missing, repeated or not a host."""
    values = headers.getlist("host")
    return _address(values[0]) if len(values) == 1 else None


def _address(text: str) -> Address | None:
    match = _HOST.fullmatch(text.lower())
    return match and (match[1].strip("[]"), int(match[2]) if match[2] else None)


def _origin(text: str) -> Origin:
    scheme, _, rest = text.lower().partition("://")
    address, default = _address(rest), _DEFAULT_PORTS.get(scheme)
    if address is None or default is None:
        return text
    return scheme, (address[0], address[1] or default)
