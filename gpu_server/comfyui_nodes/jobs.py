"""The files of one job: folders named after it under `easel` in ComfyUI's folders."""

import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID


def is_job_id(text: str) -> bool:
    """Whether `text` is a UUID in canonical form: 36 characters, lower case."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False


def remove_job(job: str, directories: Iterable[Path]) -> int:
    """Remove the folders `<directory>/easel/<job>*` and return how many files were removed.

    `job` must be a job id. A symbolic link in place of a folder is neither followed nor removed,
    and links inside a folder are removed without their targets.
    """
    removed = 0
    for directory in directories:
        for folder in _folders_of(job, directory / "easel"):
            before = _count_files(folder)
            shutil.rmtree(folder, ignore_errors=True)  # the count below shows what remains
            removed += before - _count_files(folder)
    return removed


def _folders_of(job: str, easel: Path) -> list[Path]:
    if easel.is_symlink():
        return []
    return [path for path in easel.glob(f"{job}*") if path.is_dir() and not path.is_symlink()]


def _count_files(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))
