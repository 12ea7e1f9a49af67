"""Failures between an operator and a host, each with its exit code.

SshError
├── UsageError (2)
│   └── ConfigError
├── CommandTimeoutError (124)
├── InterruptError (130)
└── RemoteError (255)
    ├── UnreachableError       the only one after which `--via auto` tries the proxy
    ├── AuthenticationError
    ├── HostKeyError
    ├── ConnectionLostError    the remote command's exit status is unknown
    └── ProtocolError          the host answered, but not as expected
"""

UNHEALTHY = 3
"""Exit code for a host that was reached but is not in order."""


class SshError(Exception):
    """Base class: a message for the operator, a stable code and an exit code."""

    code = "failed"
    exit_code = 1


class UsageError(SshError):
    """The command line is wrong or names something that does not exist."""

    code = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """The configuration file is missing or wrong."""

    code = "config"


class CommandTimeoutError(SshError):
    """`--timeout` expired before the command finished."""

    code = "timeout"
    exit_code = 124


class InterruptError(SshError):
    """Ctrl-C, SIGTERM or SIGHUP arrived before the command finished."""

    code = "interrupted"
    exit_code = 130


class RemoteError(SshError):
    """Base class for every failure between this machine and the host."""

    code = "connection"
    exit_code = 255


class UnreachableError(RemoteError):
    """No SSH server answers at this address."""

    code = "unreachable"


class AuthenticationError(RemoteError):
    """The server refuses the key, or the key cannot be used."""

    code = "authentication"


class HostKeyError(RemoteError):
    """The server's host key is unknown or differs from the one on record."""

    code = "host_key"


class ConnectionLostError(RemoteError):
    """The connection broke while a command ran."""

    code = "connection_lost"


class ProtocolError(RemoteError):
    """The server did not do what it was told, whatever its exit status says."""

    code = "protocol"
