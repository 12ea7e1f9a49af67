"""The engine's three folders, and how file names map into them."""

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

KINDS = ("input", "output", "temp")
_ANNOTATION = re.compile(r"^(?P<name>.*) ?\[(?P<kind>input|output|temp)\]$", re.DOTALL)
_VARIABLES = {
    "%year%": "%Y",
    "%month%": "%m",
    "%day%": "%d",
    "%hour%": "%H",
    "%minute%": "%M",
    "%second%": "%S",
}


@dataclass(frozen=True)
class SaveTarget:
    """Where a saving node writes: files named `<name>_<counter, 5 digits>_<suffix>`."""

    folder: Path
    name: str
    counter: int
    subfolder: str

    def file_name(self, index: int, suffix: str) -> str:
        """Name picture `index` of a batch; `suffix` includes its dot."""
        name = self.name.replace("%batch_num%", str(index))
        return f"{name}_{self.counter + index:05}_{suffix}"


class Folders:
    """`input`, `output` and `temp` under one base folder; temp is emptied at each start."""

    def __init__(self, base: Path) -> None:
        self.base = base.resolve()
        for kind in KINDS:
            (self.base / kind).mkdir(parents=True, exist_ok=True)
        self.empty_temp()

    def __getitem__(self, kind: str) -> Path:
        """Return the folder of a kind.

        Raises:
            KeyError: The kind is unknown.
        """
        if kind not in KINDS:
            raise KeyError(kind)
        return self.base / kind

    def empty_temp(self) -> None:
        """Remove everything in `temp`."""
        shutil.rmtree(self["temp"], ignore_errors=True)
        self["temp"].mkdir(exist_ok=True)

    def input_files(self) -> list[str]:
        """List the names of the files directly in `input`, sorted."""
        return sorted(entry.name for entry in os.scandir(self["input"]) if entry.is_file())

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

    def save_target(self, kind: str, prefix: str, width: int, height: int) -> SaveTarget:
        """Apply SaveImage's naming and counter rules, and create the folder.

        Raises:
            ValueError: The prefix leaves the folder.
            OSError: The folder cannot be created.
        """
        prefix = prefix.replace("%width%", str(width)).replace("%height%", str(height))
        for variable, code in _VARIABLES.items():
            if variable in prefix:
                prefix = prefix.replace(variable, time.strftime(code))
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
            parent = self[kind] / "easel"
            if not parent.is_dir():
                continue
            for entry in list(parent.iterdir()):
                if entry.name.lower().startswith(job_id.lower()):
                    removed += _remove(entry)
        return removed


def split_annotation(name: str, default: str) -> tuple[str, str]:
    """Split `x.png [temp]` into `("x.png", "temp")`; without a kind, return `default` as kind."""
    match = _ANNOTATION.match(name)
    return (match["name"].rstrip(" "), match["kind"]) if match else (name, default)


def _next_counter(folder: Path, name: str) -> int:
    start = f"{name}_"
    highest = 0
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(start):
                digits = entry.name[len(start) :].split("_")[0]
                if digits.isdecimal():
                    highest = max(highest, int(digits))
    return highest + 1


def _remove(entry: Path) -> int:
    if entry.is_dir() and not entry.is_symlink():
        count = sum(len(names) for _, _, names in os.walk(entry))
        shutil.rmtree(entry)
        return count
    entry.unlink()
    return 1
