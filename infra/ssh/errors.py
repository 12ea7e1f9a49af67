"""What can go wrong between an operator and a host, and the exit code of each.

SshError
├── UsageError (2)
│   └── ConfigError
├── TimeLimitError (124)
├── InterruptError (130)
└── RemoteError (255)
    ├── UnreachableError       the only one after which `--via auto` tries the proxy
    ├── AuthenticationError
    ├── HostKeyError
    ├── ConnectionLostError    how a remote command ended is unknown
    └── ProtocolError          the host answered, but not as it must
"""

UNHEALTHY = 3
"""The exit code of a host that was reached and is not in order."""


class SshError(Exception):
    """Base of all: a message for the operator, a stable code, an exit code."""

    code = "failed"
    exit_code = 1


class UsageError(SshError):
    """The command line asks for something that does not exist."""

    code = "usage"
    exit_code = 2


class ConfigError(UsageError):
    """The configuration file is missing or wrong."""

    code = "config"


class TimeLimitError(SshError):
    """`--timeout` passed before the remote command ended; it was ended."""

    code = "timeout"
    exit_code = 124


class InterruptError(SshError):
    """Ctrl-C, SIGTERM or SIGHUP; the remote command was ended."""

    code = "interrupted"
    exit_code = 130


class RemoteError(SshError):
    """Base of everything between here and the host."""

    code = "connection"
    exit_code = 255


class UnreachableError(RemoteError):
    """No SSH server answers at this address."""

    code = "unreachable"


class AuthenticationError(RemoteError):
    """The server refuses the key, or the key cannot be used."""

    code = "authentication"


class HostKeyError(RemoteError):
    """The server's host key is unknown or not the one on record."""

    code = "host_key"


class ConnectionLostError(RemoteError):
    """The connection broke while a command ran."""

    code = "connection_lost"


class ProtocolError(RemoteError):
    """The server did not do what was asked, whatever its exit status says."""

    code = "protocol"
