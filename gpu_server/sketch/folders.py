"""The engine's three folders, and how file names map into them."""

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

KINDS = ("input", "output", "temp")
_ANNOTATION = re.compile(r"^(?P<name>.*) ?\[(?P<kind>input|output|temp)\]$", re.DOTALL)


@dataclass(frozen=True)
class SaveTarget:
    """Where a saving node writes: files named `<name>_<counter, 5 digits>_<suffix>`."""

    folder: Path
    name: str
    counter: int
    subfolder: str


class Folders:
    """`input`, `output` and `temp` under one base folder; temp is emptied at each start."""

    def __init__(self, base: Path) -> None:
        self.base = base.resolve()
        for kind in KINDS:
            (self.base / kind).mkdir(parents=True, exist_ok=True)
        self.empty_temp()

    def __getitem__(self, kind: str) -> Path:
        """Return the folder of a kind. Raises KeyError for an unknown one."""
        if kind not in KINDS:
            raise KeyError(kind)
        return self.base / kind

    def empty_temp(self) -> None:
        shutil.rmtree(self["temp"], ignore_errors=True)
        self["temp"].mkdir(exist_ok=True)

    def input_files(self) -> list[str]:
        return sorted(entry.name for entry in self["input"].iterdir() if entry.is_file())

    def inside(self, kind: str, *parts: str) -> Path | None:
        """Join `parts` to a folder's path; return None if the result would leave the folder."""
        root = self[kind]
        path = Path(os.path.normpath(os.path.join(root, *parts)))  # noqa: PTH118 (no symlink lookups)
        return path if path == root or root in path.parents else None

    def input_image(self, name: object) -> Path | None:
        """Find the file LoadImage reads for a name such as `a/b.png` or `x.png [temp]`.

        ComfyUI would read any path on the machine; the sketch engine stays in its own folders.
        """
        if not isinstance(name, str) or "\0" in name:
            return None
        bare, kind = split_annotation(name, "input")
        path = self.inside(kind, bare)
        return path if path is not None and path.is_file() else None

    def save_target(self, kind: str, prefix: str) -> SaveTarget:
        """Apply SaveImage's counter rules, and create the folder; no `%date:…%` or the like.

        Raises:
            ValueError: The prefix leaves the folder.
            OSError: The folder cannot be created.
        """
        subfolder, _, name = os.path.normpath(prefix).rpartition("/")
        folder = self.inside(kind, subfolder)
        if folder is None or os.path.isabs(prefix):  # noqa: PTH117 (text, not a path)
            raise ValueError(
                "**** ERROR: Saving image outside the output folder is not allowed.\n"
                f" full_output_folder: {prefix}"
            )
        folder.mkdir(parents=True, exist_ok=True)
        return SaveTarget(folder, name, _next_counter(folder, name), subfolder)

    def remove_job(self, job_id: str) -> int:
        """Remove all entries of `easel/` whose name starts with the job's id; count their files."""
        removed = 0
        for kind in KINDS:
            for entry in list((self[kind] / "easel").glob("*")):
                if entry.name.lower().startswith(job_id.lower()):
                    removed += _remove(entry)
        return removed


def split_annotation(name: str, default: str) -> tuple[str, str]:
    """Split `x.png [temp]` into `("x.png", "temp")`; without a kind, return `default` as kind."""
    match = _ANNOTATION.match(name)
    return (match["name"].rstrip(" "), match["kind"]) if match else (name, default)


def _next_counter(folder: Path, name: str) -> int:
    start = f"{name}_"
    rests = [file.name[len(start) :] for file in folder.iterdir() if file.name.startswith(start)]
    used = [rest.partition("_")[0] for rest in rests]
    return 1 + max((int(digits) for digits in used if digits.isdecimal()), default=0)


def _remove(entry: Path) -> int:
    if entry.is_dir() and not entry.is_symlink():
        count = sum(len(names) for _, _, names in os.walk(entry))
        shutil.rmtree(entry)
        return count
    entry.unlink()
    return 1
