"""The command line: its commands, options and limits."""

import argparse
from typing import NoReturn

from infra.ssh.errors import UsageError
from web import VERSION

HANDLERS = {
    "shell": "infra.ssh.commands.shell:shell",
    "exec": "infra.ssh.commands.execute:execute",
    "status": "infra.ssh.commands.services:status",
    "start": "infra.ssh.commands.services:control",
    "stop": "infra.ssh.commands.services:control",
    "restart": "infra.ssh.commands.services:control",
    "logs": "infra.ssh.commands.logs:logs",
    "deploy": "infra.ssh.commands.deploy:deploy",
    "push": "infra.ssh.commands.transfer:push",
    "pull": "infra.ssh.commands.transfer:pull",
    "tunnel": "infra.ssh.commands.tunnel:tunnel",
    "models": "infra.ssh.commands.services:models",
    "hosts": "infra.ssh.commands.hosts:hosts",
    "doctor": "infra.ssh.commands.doctor:doctor",
}
"""Command → module:function. A module is imported only for its own command."""

_EXIT_CODES = """\
exit: the remote command's own code; 2 usage, 3 unhealthy, 124 timeout, 130 interrupted,
255 connection, authentication, host key or protocol"""


_EXAMPLES = {
    "exec": """\
  easel-ssh exec -- nvidia-smi
  easel-ssh exec --cd /workspace --shell 'ls -t | head'
  HF_TOKEN=… easel-ssh exec --env HF_TOKEN --cd /workspace/easel -- ./startup.sh models pull""",
    "status": "  easel-ssh status\n  easel-ssh -t all status --json",
    "restart": "  easel-ssh restart telegram_bot",
    "logs": "  easel-ssh logs backend -f\n  easel-ssh logs --since 10m --grep error",
    "deploy": """\
  easel-ssh deploy --check
  easel-ssh -t all deploy
  easel-ssh deploy --rollback""",
    "push": "  easel-ssh push backend.env /workspace/easel-deploy/shared/backend/.env",
    "pull": "  easel-ssh pull /workspace/easel-data/logs/backend.log",
    "tunnel": "  easel-ssh tunnel 8000:8000",
    "models": """\
  easel-ssh models pull --profile starter
  easel-ssh models add https://civitai.com/models/… --to loras""",
    "hosts": "  easel-ssh --via direct hosts trust --fingerprint SHA256:…",
    "doctor": "  easel-ssh -t pod2 doctor",
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message} (see {self.prog} --help)")


def parse(argv: list[str]) -> argparse.Namespace:
    """Return the options; nothing after `--` is read as one. Raises UsageError for a mistake."""
    command_line, literal = argv, []
    if "--" in argv:
        split = argv.index("--")
        command_line, literal = argv[:split], argv[split + 1 :]
    defaults = argparse.Namespace(target=None, via="auto", json=False, timeout=None)
    parser = _parser()
    options = parser.parse_args(command_line, defaults)
    if options.command == "help":  # ends the program
        parser.parse_args(["--help"] if options.topic is None else [options.topic, "--help"])
    if options.command == "exec":
        options.argv += literal
    elif literal:
        raise UsageError(f"{options.command} takes nothing after --")
    options.target = [options.only] if options.only else options.target or []
    return options


def _epilog(command: str) -> str:
    examples = _EXAMPLES.get(command)
    return f"examples:\n{examples}\n\n{_EXIT_CODES}" if examples else _EXIT_CODES


def _parser() -> argparse.ArgumentParser:
    common = _common()
    parser = _Parser(
        prog="easel-ssh",
        description="Run, watch and update Easel on its hosts over SSH.",
        epilog=_EXIT_CODES,
        parents=[common],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"easel-ssh {VERSION}")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name,
            help=text,
            description=text,
            epilog=_epilog(name),
            parents=[common],
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    sub = command("shell", "open an interactive shell")
    sub.add_argument("--cd", metavar="DIR", help="remote directory to start in")
    _exec(command("exec", "run a command"))
    command("status", "show the host's services; exit 3 if one is not ready")
    for name in ("start", "stop", "restart"):
        sub = command(name, f"{name} services, or all")
        sub.add_argument("services", nargs="*", metavar="SERVICE")
    _logs(command("logs", "show log lines of one service, or of all"))
    _deploy(command("deploy", "put the committed tree on the host and restart the services"))
    sub = command("push", "send a file, verified by SHA-256")
    sub.add_argument("source", metavar="FILE")
    sub.add_argument("destination", metavar="REMOTE_PATH")
    sub = command("pull", "fetch a file, verified by SHA-256")
    sub.add_argument("source", metavar="REMOTE_PATH")
    sub.add_argument("destination", metavar="FILE", nargs="?", default=".")
    sub = command("tunnel", "forward ports on 127.0.0.1 to the host (direct only)")
    sub.add_argument("ports", nargs="+", type=_ports, metavar="LPORT:RPORT")
    sub = command("models", "list, verify or pull the host's models, or add one")
    sub.add_argument("action", nargs="?", default="list", choices=("list", "verify", "pull", "add"))
    sub.add_argument("names", nargs="*", metavar="MODEL|URL", help="only these files; what to add")
    for name in ("to", "name", "id"):
        sub.add_argument(f"--{name}", help="as in ./startup.sh models add")
    sub.add_argument("--style", metavar="STYLE", help="only the files that this style needs")
    sub.add_argument("--profile", metavar="PROFILE", help="starter or full")
    sub.add_argument("--force", action="store_true", help="replace a file with other content")
    sub = command("hosts", "list the targets, or trust a host key")
    sub.add_argument("action", nargs="?", default="list", choices=("list", "trust"))
    sub.add_argument("--fingerprint", metavar="SHA256:…", help="fingerprint of the key to trust")
    command("doctor", "check everything between here and a working host")
    sub = command("help", "show how a command is called")
    sub.add_argument("topic", nargs="?", choices=HANDLERS, metavar="COMMAND")
    return parser


def _common() -> _Parser:
    """Make the options that may stand before or after the command, without defaults."""
    parser = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    name = "repeatable; all means every target"
    parser.add_argument("-t", "--target", action="append", metavar="NAME", help=name)
    parser.add_argument("--via", choices=("auto", "direct", "proxy"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--timeout", type=_seconds, metavar="S", help="give up after S seconds")
    return parser


def _exec(parser: argparse.ArgumentParser) -> None:
    name = "NAME[=VALUE]"
    parser.usage = (
        "easel-ssh exec [OPTIONS] -- PROGRAM [ARGS…]\n       easel-ssh exec [OPTIONS] --shell LINE"
    )
    parser.add_argument("--cd", metavar="DIR", help="remote directory to start in")
    parser.add_argument("--env", action="append", default=[], metavar=name, help="repeatable")
    parser.add_argument("--shell", metavar="LINE", help="run a line of bash instead of a program")
    parser.add_argument("--raw", action="store_true", help="do not redact secrets")
    parser.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- PROGRAM ARGS…")


def _logs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("service", nargs="?", metavar="SERVICE")
    follow = "show new lines as they come, and reconnect"
    parser.add_argument("-f", "--follow", action="store_true", help=follow)
    parser.add_argument("-n", "--lines", type=_count, default=100, metavar="N")
    since = "instead: as 30s, 10m, 2h or 1d ago, or a time in UTC"
    parser.add_argument("--since", metavar="TIME", help=since)
    parser.add_argument("--grep", metavar="REGEX", help="only the lines that match")


def _deploy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--source", default=None, metavar="DIR", help="a git checkout")
    adopt = "turn an existing checkout into a release"
    parser.add_argument("--adopt", action="store_true", help=adopt)
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--check", action="store_true", help="show what would happen")
    earlier = "go back to an earlier release"
    action.add_argument("--rollback", nargs="?", const="", metavar="RELEASE", help=earlier)


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 86400:
        raise argparse.ArgumentTypeError("allowed: above 0, at most 86400")
    return value


def _count(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 100_000:
        raise argparse.ArgumentTypeError("allowed: 0 to 100000")
    return value


def _ports(text: str) -> tuple[int, int]:
    local, _, remote = text.partition(":")
    if not (local.isdecimal() and remote.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r}: allowed: LPORT:RPORT, such as 8188:8188")
    if int(local) > 65535 or not 0 < int(remote) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: ports go from 1 to 65535 (LPORT 0: any)")
    return int(local), int(remote)
