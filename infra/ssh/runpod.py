"""Where a pod of RunPod is just now: its address and SSH port change with every reset."""

import json
import os
import re
import time
from typing import Any
from urllib.parse import urlsplit

import httpx

from infra.ssh.errors import AuthenticationError, ConfigError, ProtocolError, UnreachableError

_API = "https://rest.runpod.io/v1"
_LIMIT = 1_000_000
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HOST = re.compile(r"[\w.:-]{1,253}", re.ASCII)
_KEY = re.compile(r"[!-~]+")


def knows_pods() -> bool:
    """Return whether there is a key to ask RunPod with."""
    return bool(os.environ.get("RUNPOD_API_KEY", "").strip())


def address_of(pod: str, timeout: float) -> tuple[str, int]:
    """Return the host and port at which a pod's SSH server can be reached.

    Raises UnreachableError if it cannot be at present, AuthenticationError if RunPod refuses the
    key, ConfigError if there is no such pod, ProtocolError for an answer that makes no sense.
    """
    status, body = _get(f"pods/{pod}", timeout)
    if status in (401, 403):
        raise AuthenticationError(
            f"RunPod refuses RUNPOD_API_KEY ({status}): make a key that may read pods in its "
            "console, under Settings, API Keys"
        )
    if status == 404:
        raise ConfigError(
            f'RunPod has no pod "{pod}" that this RUNPOD_API_KEY can see: take the id from the '
            "pod's page, and the key from the same account"
        )
    if status != 200:
        raise UnreachableError(f"RunPod's API answered {status} for pod {pod}: try again later")
    try:
        return _address(pod, json.loads(body))
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise ProtocolError(f"RunPod's API gave an answer for pod {pod} that is no pod") from None


def _address(pod: str, answer: Any) -> tuple[str, int]:
    host, ports = answer.get("publicIp"), answer.get("portMappings") or {}
    if not host:
        state = str(answer.get("desiredStatus") or "unknown")[:20]
        raise UnreachableError(
            f"pod {pod} has no public address (its state: {state}): it is stopped, still starting, "
            "or has none; start it in RunPod's console"
        )
    if "22" not in ports:
        raise UnreachableError(
            f"pod {pod} does not expose SSH: add 22/tcp to its ports in RunPod's console (that "
            "resets it), or use its proxy"
        )
    port = ports["22"]
    if not _HOST.fullmatch(host) or type(port) is not int or not 0 < port <= 65535:
        raise ValueError
    return host, port


def _get(path: str, timeout: float) -> tuple[int, bytes]:
    """Ask the API. It follows no redirect: another host must not get the key."""
    base = (os.environ.get("EASEL_RUNPOD_API") or _API).rstrip("/")
    parts = urlsplit(base)
    if parts.scheme != "https" and (parts.scheme != "http" or parts.hostname not in _LOOPBACK):
        raise ConfigError("EASEL_RUNPOD_API: allowed: an https:// address, or http:// on loopback")
    key = os.environ.get("RUNPOD_API_KEY", "").strip()
    if not key:
        raise ConfigError(
            'a pod named by its id needs RUNPOD_API_KEY in the environment, or a "host" and '
            '"port" beside it'
        )
    if not _KEY.fullmatch(key):
        raise ConfigError("RUNPOD_API_KEY: allowed: visible ASCII characters without spaces")
    headers = {"Authorization": f"Bearer {key}", "Accept-Encoding": "identity"}
    end = time.monotonic() + timeout
    try:
        with httpx.stream("GET", f"{base}/{path}", headers=headers, timeout=timeout) as answer:
            body = bytearray()
            for chunk in answer.iter_raw():
                body += chunk
                if len(body) > _LIMIT or time.monotonic() > end:
                    raise ProtocolError("RunPod's API gave an answer that does not end")
            return answer.status_code, bytes(body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
        raise UnreachableError(
            f"RunPod's API at {parts.hostname} cannot be asked: {reason}"
        ) from error
