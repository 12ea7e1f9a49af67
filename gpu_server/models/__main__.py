"""`python -m gpu_server.models list|verify|pull [MODEL…] [--style S] [--profile P] [--json]`.

Exit codes: 0 done, 1 a file could not be fetched, 2 usage or settings, 3 a file is missing or
wrong (`verify`), 4 not enough disk space, 130 interrupted (`pull` again resumes).
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import httpx
from pydantic import SecretStr

from gpu_server.models.download import Downloader
from gpu_server.models.files import State, state_of, verify
from gpu_server.models.manifest import MANIFEST, ManifestError, ModelFile, load_manifest
from gpu_server.models.part import DownloadError, NoSpace
from gpu_server.settings import ENV_FILE, Settings
from web.settings import load_or_exit

_TERMINAL_INTERVAL_S, _PLAIN_INTERVAL_S = 0.2, 10.0
_BAR_WIDTH = 24
_FAILED, _USAGE, _UNHEALTHY, _NO_SPACE, _INTERRUPTED = 1, 2, 3, 4, 130


def main(argv: Sequence[str]) -> int:
    arguments = _parser().parse_args(argv)
    try:
        manifest = load_manifest(arguments.manifest)
        style, profile = arguments.style, arguments.profile
        if arguments.run is _pull and not (style or profile or arguments.ids):
            profile = "starter"
        files = manifest.select(style, profile, arguments.ids)
        models_dir = arguments.models_dir or load_or_exit(Settings, ENV_FILE).gpu_models_dir
        return int(arguments.run(models_dir, files, as_json=arguments.json))
    except ManifestError as error:
        return _fail(_USAGE, error)
    except NoSpace as error:
        return _fail(_NO_SPACE, error)
    except (DownloadError, OSError) as error:
        return _fail(_FAILED, error)
    except KeyboardInterrupt:
        return _fail(_INTERRUPTED, "interrupted; run the same command again to resume")


def _list(models_dir: Path, files: Sequence[ModelFile], *, as_json: bool) -> int:
    _show({file: state_of(models_dir, file) for file in files}, as_json=as_json)
    return 0


def _verify(models_dir: Path, files: Sequence[ModelFile], *, as_json: bool) -> int:
    lines = _ProgressLines(sys.stderr)
    results: dict[ModelFile, str] = {}
    for file in files:
        state = state_of(models_dir, file)
        if state in {State.INSTALLED, State.UNVERIFIED}:
            is_right = verify(models_dir, file, lines)
            results[file] = State.INSTALLED if is_right else "wrong_hash"
        else:
            results[file] = state
    lines.finish()
    _show(results, as_json=as_json)
    return 0 if all(state == State.INSTALLED for state in results.values()) else _UNHEALTHY


def _pull(models_dir: Path, files: Sequence[ModelFile], *, as_json: bool) -> int:
    lines = _ProgressLines(sys.stderr)
    token = os.environ.get("HF_TOKEN", "")
    with httpx.Client() as client:
        try:
            downloader = Downloader(client, models_dir, lines, SecretStr(token))
            fetched = downloader.pull(files)
        finally:
            lines.finish()
    if as_json:
        _show({file: state_of(models_dir, file) for file in files}, as_json=True)
    else:
        names = ", ".join(file.id for file in fetched)
        print(f"Fetched: {names}." if fetched else "Everything is already installed.")
    return 0


def _show(states: dict[ModelFile, State] | dict[ModelFile, str], *, as_json: bool) -> None:
    if as_json:
        fields = {"id", "dest", "size", "licence", "needed_by"}
        rows = [
            {**file.model_dump(include=fields), "state": str(state)}
            for file, state in states.items()
        ]
        print(json.dumps({"models": rows}))
        return
    print(f"{'MODEL':<24}{'STATE':<12}{'SIZE':>9}  {'LICENCE':<24}NEEDED BY")
    for file, state in states.items():
        size = f"{file.size / 1e9:.2f} GB"
        needed = ", ".join(file.needed_by) or "-"
        print(f"{file.id:<24}{state:<12}{size:>9}  {file.licence:<24}{needed}")


def _fail(code: int, error: object) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gpu_server.models", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, run, text in (
        ("list", _list, "list the files and whether they are installed"),
        ("verify", _verify, "read installed files and compare their hashes"),
        ("pull", _pull, "fetch missing files, by default the starter profile"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("ids", nargs="*", metavar="MODEL", help="only these files")
        command.add_argument("--style", help="only files this style needs")
        command.add_argument("--profile", help="starter (37 GB, every style) or full (92 GB)")
        command.add_argument("--json", action="store_true", help="print JSON")
        command.add_argument("--models-dir", type=Path, help="use this instead of GPU_MODELS_DIR")
        command.add_argument("--manifest", type=Path, default=MANIFEST, help=argparse.SUPPRESS)
        command.set_defaults(run=run)
    return parser


class _ProgressLines:
    """Shows the files' progress: a moving line on a terminal, an occasional line elsewhere."""

    def __init__(self, out: TextIO) -> None:
        self._out, self._terminal = out, out.isatty()
        self._file: ModelFile | None = None
        self._began = self._shown = 0.0
        self._first = 0

    def __call__(self, file: ModelFile, done: int) -> None:
        now = time.monotonic()
        if self._file is None or file.id != self._file.id:
            self.finish()
            self._file, self._began, self._first, self._shown = file, now, done, 0.0
        interval = _TERMINAL_INTERVAL_S if self._terminal else _PLAIN_INTERVAL_S
        if now - self._shown < interval and done < file.size:
            return
        self._shown, seconds = now, now - self._began
        speed = max(done - self._first, 0) / seconds if seconds > 0.5 else 0.0
        left = f"{(file.size - done) / speed:.0f} s left" if speed else ""
        text = f"{done / 1e9:.2f}/{file.size / 1e9:.2f} GB  {speed / 1e6:.0f} MB/s  {left}"
        percent = done * 100 // file.size
        if self._terminal:
            bar = ("█" * (_BAR_WIDTH * done // file.size)).ljust(_BAR_WIDTH, "░")
            self._out.write(f"\r{file.id:<22} {bar} {percent:>3} %  {text}\x1b[K")
        else:
            self._out.write(f"{file.id} {percent} %  {text.rstrip()}\n")
        self._out.flush()

    def finish(self) -> None:
        if self._terminal and self._file is not None:
            self._out.write("\n")
            self._out.flush()
        self._file = None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
