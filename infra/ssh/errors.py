"""Failures between an operator and a host, each with its exit code.

SshError                       a failed command (1)
├── UsageError                 the command line is wrong or names what does not exist (2)
│   └── ConfigError            the configuration file is missing or wrong
├── CommandTimeoutError        `--timeout` expired before the command finished (124)
├── InterruptError             Ctrl-C, SIGTERM or SIGHUP came before the command finished (130)
└── RemoteError                any failure between this machine and the host (255)
    ├── UnreachableError       no SSH server answers: only then `--via auto` tries the proxy
    ├── AuthenticationError    the server refuses the key, or the key cannot be used
    ├── HostKeyError           the server's host key is unknown or not the one on record
    ├── ConnectionLostError    the remote command's exit status is unknown
    └── ProtocolError          the host answered, but not as expected, whatever its exit status
"""

UNHEALTHY = 3
"""Exit code for a host that was reached but is not in order."""


class SshError(Exception):
    """Base class: a message for the operator, a stable code and an exit code."""

    code = "failed"
    exit_code = 1


class UsageError(SshError):
    code = "usage"
    exit_code = 2


class ConfigError(UsageError):
    code = "config"


class CommandTimeoutError(SshError):
    code = "timeout"
    exit_code = 124


class InterruptError(SshError):
    code = "interrupted"
    exit_code = 130


class RemoteError(SshError):
    code = "connection"
    exit_code = 255


class UnreachableError(RemoteError):
    code = "unreachable"


class AuthenticationError(RemoteError):
    code = "authentication"


class HostKeyError(RemoteError):
    code = "host_key"


class ConnectionLostError(RemoteError):
    code = "connection_lost"


class ProtocolError(RemoteError):
    code = "protocol"
