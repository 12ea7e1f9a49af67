"""The keys to offer to a server: those of a private key file, or those that ssh-agent holds."""

import base64
import functools
import getpass
import io
import os
import re
import struct
from pathlib import Path
from typing import NoReturn

import paramiko
from cryptography.exceptions import InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from infra.ssh.errors import AuthenticationError
from infra.ssh.files import read_text
from infra.ssh.routes import Route

_TRIES = 3
"""How often to ask for a passphrase."""
_USABLE = "allowed: Ed25519, RSA, and ECDSA with nistp256, nistp384 or nistp521"
_CURVES = {"secp256r1", "secp384r1", "secp521r1"}
_CERTIFICATE = "-cert.pub"
_PUBLIC_LINE = re.compile(r"(?:ssh|ecdsa|sk)-[\w@.-]+ +([A-Za-z0-9+/]+=*)")
_OPENSSH_BODY = re.compile(r"BEGIN OPENSSH PRIVATE KEY-----(.*?)-----END", re.DOTALL)
_OPENSSH_MAGIC = b"openssh-key-v1\0"

_PUBLIC_HALF = (
    ", and write its public half beside it, or the agent's key cannot be recognised: "
    "ssh-keygen -yf {path} >{path}.pub"
)

_Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def offers(route: Route) -> list[paramiko.PKey]:
    """Return the keys to offer for a route, never an empty list.

    A `key` of the configuration is offered alone. Those of `~/.ssh/config` come before the
    agent's, which `IdentitiesOnly` leaves out. Raises AuthenticationError if there is none.
    """
    if route.key is not None:
        return [load_key(route.key)]
    entry = route.entry
    keys: list[paramiko.PKey] = []
    refusals: list[AuthenticationError] = []
    for path in entry.identities:
        try:
            keys.append(load_key(path))
        except AuthenticationError as error:
            refusals.append(error)
    if not entry.identities_only:
        present = {key.asbytes() for key in keys}
        keys += [key for key in agent_keys() if key.asbytes() not in present]
    if keys:
        return keys
    if refusals:
        raise refusals[0]
    raise AuthenticationError(
        f'{route} has no "key" in the configuration, and ssh-agent offers none: name a private '
        "key file, or ssh-add one"
    )


def agent_keys() -> list[paramiko.PKey]:
    """Return the keys that ssh-agent holds; none if no agent answers."""
    try:
        return list(paramiko.Agent().get_keys())
    except (paramiko.SSHException, OSError, struct.error):
        return []


def loose_permissions(path: Path) -> str | None:
    """Return what is wrong with a private key file's permissions, or None."""
    try:
        mode = path.stat().st_mode & 0o777
        if not mode & 0o077 or _public_part(read_text(path)) is not None:
            return None
    except (OSError, ValueError):
        return None  # loading it says what is wrong
    return f"private key {path} can be read by others (mode {mode:04o}): chmod 600 {path}"


@functools.cache  # a passphrase is asked for once
def load_key(path: Path) -> paramiko.PKey:
    """Return the key of a file: from ssh-agent if it holds it and the file alone is not enough.

    Raises AuthenticationError with what the file is instead and what to do.
    """
    private = path.with_name(path.name.removesuffix(_CERTIFICATE))
    key = _key_of(private, _read(private))
    certificate = private.with_name(private.name + _CERTIFICATE)
    if certificate.exists():
        try:
            key.load_certificate(str(certificate))
        except (OSError, ValueError, paramiko.SSHException) as error:
            raise AuthenticationError(
                f"{certificate} is not a certificate for {private}: {error}"
            ) from error
    return key


def _read(path: Path) -> str:
    try:
        return read_text(path)
    except FileNotFoundError:
        raise AuthenticationError(f"there is no private key {path}") from None
    except PermissionError:
        user = getpass.getuser()
        raise AuthenticationError(
            f"{path} may not be read by {user}: chown {user} and chmod 600 it, or name another key"
        ) from None
    except OSError as error:
        raise AuthenticationError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise AuthenticationError(f"{path} {error}; a private key file is needed") from None


def _key_of(path: Path, text: str) -> paramiko.PKey:
    if (public := _public_part(text)) is not None:
        return _from_agent(public) or _refuse(
            path,
            "is a public key, and ssh-agent does not hold its private half: ssh-add that, or name "
            "the private key file",
        )
    if (problem := _not_a_private_key(text)) is not None:
        _refuse(path, problem)
    data = text.strip().encode()
    try:
        return _to_paramiko(_decode(data, None))
    except TypeError:  # it has a passphrase
        public = _public_part_beside(path) or _openssh_public_part(text)
        return _from_agent(public) or _unlock(path, data)
    except UnsupportedAlgorithm as error:
        if (held := _from_agent(_openssh_public_part(text))) is not None:
            return held  # such as a key on a security token
        _refuse(path, _unsupported(error))
    except ValueError as error:
        _refuse(path, f"is a damaged private key ({error}): copy it again, from BEGIN to END")


def _refuse(path: Path, problem: str) -> NoReturn:
    raise AuthenticationError(f"{path} {problem}")


def _unsupported(error: UnsupportedAlgorithm) -> str:
    return f"is of a kind that at most ssh-agent can use ({error}): ssh-add it; {_USABLE}"


def _not_a_private_key(text: str) -> str | None:
    """Return what a file is instead of a private key, or None."""
    if not text.strip():
        return "is empty; name a private key file, such as ssh-keygen -t ed25519 makes"
    if text.startswith("PuTTY-User-Key-File"):
        return (
            "is a key of PuTTY: convert it with `puttygen KEY.ppk -O private-openssh -o KEY`, or "
            "in PuTTYgen with Conversions, Export OpenSSH key"
        )
    if "PUBLIC KEY" in text:
        return "is a public key in another format than OpenSSH's; name the private key file"
    if "PRIVATE KEY-----" not in text:
        return (
            "is not a usable private key: it has no line -----BEGIN … PRIVATE KEY-----; name the "
            "file that ssh-keygen made beside the .pub"
        )
    return None


def _decode(data: bytes, passphrase: bytes | None) -> _Private:
    """Decode OpenSSH's format, PEM or PKCS#8. Raises TypeError if a passphrase is needed."""
    openssh = b"BEGIN OPENSSH PRIVATE KEY" in data
    load = serialization.load_ssh_private_key if openssh else serialization.load_pem_private_key
    key = load(data, passphrase)
    if not isinstance(key, _Private):
        raise UnsupportedAlgorithm(type(key).__name__.removesuffix("PrivateKey"))
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name not in _CURVES:
        raise UnsupportedAlgorithm(f"ECDSA with {key.curve.name}")
    return key


def _to_paramiko(key: _Private) -> paramiko.PKey:
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.NoEncryption(),
    ).decode()
    match key:
        case rsa.RSAPrivateKey():
            return paramiko.RSAKey.from_private_key(io.StringIO(text))
        case ec.EllipticCurvePrivateKey():
            return paramiko.ECDSAKey.from_private_key(io.StringIO(text))
    return paramiko.Ed25519Key.from_private_key(io.StringIO(text))


def _unlock(path: Path, data: bytes) -> paramiko.PKey:
    """Ask for the passphrase, if there is somebody to ask."""
    if not _has_terminal():
        hint = "" if _OPENSSH_BODY.search(data.decode()) else _PUBLIC_HALF.format(path=path)
        _refuse(
            path, f"has a passphrase, and there is no terminal to ask for it: ssh-add {path}{hint}"
        )
    for _ in range(_TRIES):
        passphrase = getpass.getpass(f"Passphrase of {path}: ")
        try:
            return _to_paramiko(_decode(data, passphrase.encode()))
        except (ValueError, TypeError, InvalidTag):
            continue
        except UnsupportedAlgorithm as error:
            _refuse(path, _unsupported(error))
    _refuse(path, f"was not opened: {_TRIES} wrong passphrases")


def _has_terminal() -> bool:
    """Return whether getpass can ask on the controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _from_agent(public: bytes | None) -> paramiko.PKey | None:
    matching = (key for key in agent_keys() if public is not None and key.asbytes() == public)
    return next(matching, None)


def _public_part(text: str) -> bytes | None:
    """Return the key of a line as in a `.pub` file, or None."""
    match = _PUBLIC_LINE.match(text.lstrip())
    return _base64(match[1]) if match else None


def _public_part_beside(path: Path) -> bytes | None:
    try:
        return _public_part(read_text(path.with_name(f"{path.name}.pub")))
    except (OSError, ValueError):
        return None


def _openssh_public_part(text: str) -> bytes | None:
    """Return the public key that OpenSSH's format carries unencrypted, or None."""
    match = _OPENSSH_BODY.search(text)
    data = _base64("".join(match[1].split())) if match else None
    if data is None or not data.startswith(_OPENSSH_MAGIC):
        return None
    message = paramiko.Message(data[len(_OPENSSH_MAGIC) :])
    for _ in ("cipher", "key derivation", "its options"):
        message.get_binary()
    message.get_int()  # the number of keys
    return message.get_binary()


def _base64(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return None
