"""Model files: list, verify and pull those that are listed, add your own.

`python -m gpu_server.models list|verify|pull [MODEL…] [--style S] [--profile P] [--json]`
`python -m gpu_server.models add URL --to FOLDER [--name FILE] [--id ID] [--force] [--json]`

Exit codes: 0 done, 1 a file could not be fetched, 2 usage or settings, 3 a file is missing or
wrong (`verify`), 4 not enough disk space, 130 interrupted (`pull` again resumes).
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import httpx

from gpu_server.models.add import Addition, add, pin
from gpu_server.models.download import Downloader
from gpu_server.models.files import State, state_of, verify
from gpu_server.models.manifest import MANIFEST, ManifestError, ModelFile, load_manifest
from gpu_server.models.needs import unlisted, with_needs
from gpu_server.models.part import DownloadError, NoSpace
from gpu_server.models.sites import CIVITAI, HUGGING_FACE, Sites
from gpu_server.settings import ENV_FILE, DownloadSettings
from web.settings import load_or_exit
from workflows.folders import MODEL_FOLDERS

_TERMINAL_INTERVAL_S, _PLAIN_INTERVAL_S = 0.2, 10.0
_BAR_WIDTH = 24
_FAILED, _USAGE, _UNHEALTHY, _NO_SPACE, _INTERRUPTED = 1, 2, 3, 4, 130


def main(argv: Sequence[str]) -> int:
    arguments = _parser().parse_args(argv)
    settings = load_or_exit(DownloadSettings, ENV_FILE)
    models_dir: Path = arguments.models_dir or settings.gpu_models_dir
    try:
        if arguments.command == "add":
            with _downloader(models_dir, settings) as downloader:
                return _add(downloader, settings.models_file, arguments)
        files, lacking = _chosen(arguments, settings, models_dir)
        with _downloader(models_dir, settings) as downloader:
            if arguments.command == "pull":
                files = [_pinned(downloader, file, settings.models_file) for file in files]
            run: Callable[..., int] = arguments.run
            return run(downloader, files, lacking, as_json=arguments.json)
    except ManifestError as error:
        return _fail(_USAGE, error)
    except NoSpace as error:
        return _fail(_NO_SPACE, error)
    except (DownloadError, OSError) as error:
        return _fail(_FAILED, error)
    except KeyboardInterrupt:
        return _fail(_INTERRUPTED, "interrupted; run the same command again to resume")


def _chosen(
    arguments: argparse.Namespace, settings: DownloadSettings, models_dir: Path
) -> tuple[list[ModelFile], dict[str, list[str]]]:
    """Return the listed files that the arguments choose, and what their styles lack beside."""
    manifest = load_manifest(arguments.manifest, settings.own_models)
    lacking: dict[str, list[str]] = {}
    style, profile, ids = arguments.style, arguments.profile, arguments.ids
    if arguments.manifest == MANIFEST and not settings.easel_checkpoint:
        catalog = settings.load_catalog()
        manifest = with_needs(manifest, catalog)
        lacking = {} if profile or ids else unlisted(manifest, catalog, models_dir)
        lacking = {
            name: needs
            for name, needs in lacking.items()
            if not style or style in {need.partition(":")[0] for need in needs}
        }
    if style and lacking and style not in manifest.styles:
        return [], lacking
    if arguments.command == "pull" and not (style or profile or ids):
        profile = "starter"
    return manifest.select(style, profile, ids), lacking


@contextmanager
def _downloader(models_dir: Path, settings: DownloadSettings) -> Iterator[Downloader]:
    sites = Sites(
        (
            replace(HUGGING_FACE, token=settings.hf_token, mirror=settings.hf_endpoint),
            replace(CIVITAI, token=settings.civitai_token),
        )
    )
    lines = _ProgressLines(sys.stderr)
    with httpx.Client() as client:
        try:
            yield Downloader(client, models_dir, lines, sites)
        finally:
            lines.finish()


def _add(downloader: Downloader, own: Path, arguments: argparse.Namespace) -> int:
    wanted = Addition(
        url=arguments.url,
        folder=arguments.to,
        name=arguments.name,
        id=arguments.id,
        is_forced=arguments.force,
        own=own,
    )
    file = add(downloader, wanted)
    if arguments.json:
        print(json.dumps({"added": file.model_dump()}))
    else:
        print(f"Added {file.id}: {file.dest}, {file.size / 1e9:.2f} GB, SHA-256 {file.sha256}.")
    return 0


def _pinned(downloader: Downloader, file: ModelFile, own: Path) -> ModelFile:
    """Fetch a file of unknown content first, so that it is known from now on."""
    if file.is_pinned:
        return file
    pinned = pin(downloader, file, own)
    size = f"{pinned.size / 1e9:.2f} GB"
    print(f"Pinned {pinned.id}: {size}, SHA-256 {pinned.sha256}.", file=sys.stderr)
    return pinned


_Lacking = Mapping[str, Sequence[str]]
"""What no list names: name → the styles that need it."""


def _list(
    downloader: Downloader, files: Sequence[ModelFile], lacking: _Lacking, *, as_json: bool
) -> int:
    _show(_states(downloader, files), lacking, as_json=as_json)
    return 0


def _verify(
    downloader: Downloader, files: Sequence[ModelFile], lacking: _Lacking, *, as_json: bool
) -> int:
    results = _states(downloader, files)
    for file, state in results.items():
        if file.is_pinned and state in {State.INSTALLED, State.UNVERIFIED}:
            is_right = verify(downloader.models_dir, file, downloader.progress)
            results[file] = State.INSTALLED if is_right else "wrong_hash"
    _show(results, lacking, as_json=as_json)
    is_right = all(state == State.INSTALLED for state in results.values()) and not lacking
    return 0 if is_right else _UNHEALTHY


def _pull(
    downloader: Downloader, files: Sequence[ModelFile], lacking: _Lacking, *, as_json: bool
) -> int:
    fetched = downloader.pull(files)
    if as_json:
        _show(_states(downloader, files), lacking, as_json=True)
        return 0
    names = ", ".join(file.id for file in fetched)
    if fetched or files:
        print(f"Fetched: {names}." if fetched else "Everything is already installed.")
    _warn(lacking)
    return _FAILED if lacking and not files else 0


def _states(downloader: Downloader, files: Sequence[ModelFile]) -> dict[ModelFile, str]:
    return {file: state_of(downloader.models_dir, file) for file in files}


def _show(states: Mapping[ModelFile, str], lacking: _Lacking, *, as_json: bool) -> None:
    if as_json:
        fields = {"id", "dest", "size", "licence", "needed_by"}
        rows = [
            {**file.model_dump(include=fields), "state": str(state)}
            for file, state in states.items()
        ]
        rows += [
            {"id": name, "dest": "", "size": 0, "licence": "", "needed_by": needs}
            | {"state": "unlisted"}
            for name, needs in lacking.items()
        ]
        print(json.dumps({"models": rows}))
        return
    print(f"{'MODEL':<24}{'STATE':<12}{'SIZE':>9}  {'LICENCE':<24}NEEDED BY")
    for file, state in states.items():
        size = f"{file.size / 1e9:.2f} GB" if file.size else "-"
        needed = ", ".join(file.needed_by) or "-"
        print(f"{file.id:<24}{state:<12}{size:>9}  {file.licence or '-':<24}{needed}")
    for name, needs in lacking.items():
        print(f"{name:<24}{'unlisted':<12}{'-':>9}  {'-':<24}{', '.join(needs)}")
    _warn(lacking)


def _warn(lacking: _Lacking) -> None:
    for name, needs in lacking.items():
        print(
            f"fault: {name}, which {', '.join(needs)} needs, is in no list of models and not on "
            "disk. Fetch it with `./startup.sh models add URL --to FOLDER --id ID`, or correct "
            "`files` in the mode's mode.toml.",
            file=sys.stderr,
        )


def _fail(code: int, error: object) -> int:
    print(f"error: {error}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m gpu_server.models", description=__doc__)
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for name, run, text in (
        ("list", _list, "list the files and whether they are installed"),
        ("verify", _verify, "read installed files and compare their hashes"),
        ("pull", _pull, "fetch missing files, by default the starter profile"),
    ):
        command = commands.add_parser(name, help=text)
        command.add_argument("ids", nargs="*", metavar="MODEL", help="only these files")
        command.add_argument("--style", help="only files this style needs")
        command.add_argument("--profile", help="starter (41 GB, every style) or full (92 GB)")
        command.add_argument("--json", action="store_true", help="print JSON")
        command.add_argument("--models-dir", type=Path, help="use this instead of GPU_MODELS_DIR")
        command.add_argument("--manifest", type=Path, default=MANIFEST, help=argparse.SUPPRESS)
        command.set_defaults(run=run)
    command = commands.add_parser("add", help="fetch your own file and list it")
    command.add_argument("url", metavar="URL", help="address of a safetensors file")
    command.add_argument(
        "--to", required=True, choices=MODEL_FOLDERS, help="ComfyUI's folder for it"
    )
    command.add_argument("--name", metavar="FILE", help="file name; default: the server's")
    command.add_argument("--id", help="its name in lists; default: from the file name")
    command.add_argument("--force", action="store_true", help="replace a file with other content")
    command.add_argument("--json", action="store_true", help="print JSON")
    command.add_argument("--models-dir", type=Path, help="use this instead of GPU_MODELS_DIR")
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
        if done >= file.size:
            self.finish()

    def finish(self) -> None:
        if self._terminal and self._file is not None:
            self._out.write("\n")
            self._out.flush()
        self._file = None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
