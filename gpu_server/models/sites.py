"""The sites that model files come from: tokens, a mirror, and what to do about a refusal."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import httpx
from pydantic import SecretStr

from gpu_server.models.part import DownloadError, Transient, WrongContent

_TIMEOUT = httpx.Timeout(60.0, connect=15.0)
_SIGNATURE_REFUSED = frozenset({400, 401, 403, 410})
"""What storage answers to a signed address that has expired or that it does not like."""
_NO_TOKEN = SecretStr("")


@dataclass(frozen=True)
class Site:
    """A site that may require a token, which no other host is sent."""

    origin: str
    variable: str
    token: SecretStr = _NO_TOKEN
    mirror: str = ""
    """Base URL to request in place of `origin`; it gets no token."""

    def has(self, url: str) -> bool:
        ours, theirs = httpx.URL(self.origin), httpx.URL(url)
        return all(getattr(ours, n) == getattr(theirs, n) for n in ("scheme", "host", "port"))

    def advice(self) -> str:
        if self.mirror:
            return (
                f"HF_ENDPOINT names this mirror, which gets no token: unset it and set "
                f"{self.variable} to fetch from {self.origin}."
            )
        if self.token.get_secret_value():
            return (
                f"Accept the model's licence at {self.origin} with the account that "
                f"{self.variable} belongs to, and check that this token may read the model."
            )
        return (
            f"Accept the model's licence there and set {self.variable} to a token that may read it."
        )


HUGGING_FACE = Site("https://huggingface.co", "HF_TOKEN")
CIVITAI = Site("https://civitai.com", "CIVITAI_TOKEN")


@dataclass(frozen=True)
class Sites:
    """All sites with tokens; any other host is asked without one."""

    known: tuple[Site, ...] = (HUGGING_FACE, CIVITAI)

    @contextmanager
    def get(
        self, client: httpx.Client, url: str, name: str, headers: Mapping[str, str]
    ) -> Iterator[httpx.Response]:
        """Request a file, called `name` in errors, from its origin.

        Raises Transient or DownloadError unless the answer is the file or a range of it.
        """
        site = next((site for site in self.known if site.has(url)), None)
        sent = {"Accept-Encoding": "identity", **headers}
        if site and site.mirror:
            url = site.mirror + url.removeprefix(site.origin)
        elif site and (token := site.token.get_secret_value()):
            # httpx drops this header when it follows a redirect to another origin.
            sent["Authorization"] = f"Bearer {token}"
        try:
            with client.stream(
                "GET", url, headers=sent, follow_redirects=True, timeout=_TIMEOUT
            ) as answer:
                _check(name, answer, site)
                yield answer
        except (httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise DownloadError(f"{name}: the server leads to an unusable address.") from error
        except httpx.RequestError as error:
            raise Transient(f"the connection broke ({type(error).__name__})") from error


DEFAULT_SITES = Sites()


def _check(name: str, answer: httpx.Response, site: Site | None) -> None:
    status, codes = answer.status_code, httpx.codes
    host, first = answer.url.host, (answer.history or [answer])[0].url
    where = f"{name}: {host} answers"
    advice = site.advice() if site else "Easel has no token for this host; fetch the file by hand."
    if status in {codes.OK, codes.PARTIAL_CONTENT}:
        if answer.headers.get("Content-Type", "").startswith("text/html"):
            raise DownloadError(f"{where} with a web page in place of the file. {advice}")
        return
    if status == codes.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise WrongContent("the server has fewer bytes than the part")
    if status in {codes.REQUEST_TIMEOUT, codes.TOO_MANY_REQUESTS} or status >= 500:
        after = answer.headers.get("Retry-After", "")
        pause_s = float(after) if after.isdecimal() else 0.0
        raise Transient(f"{host} answers {status}", pause_s)
    if status in _SIGNATURE_REFUSED and answer.url.netloc != first.netloc:
        text = f"{host} answers {status} to the address that {first.host} gave"
        raise Transient(text, advice=advice, tries=4)
    if status in {codes.UNAUTHORIZED, codes.FORBIDDEN}:
        raise DownloadError(f"{where} {status}. {advice}")
    shown = answer.url.copy_with(query=None, fragment=None, userinfo=b"")
    raise DownloadError(f"{where} {status} for {shown}.")
