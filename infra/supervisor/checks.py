"""Every check of the project, as `./startup.sh test` runs them."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def run_all(root: Path, pytest_arguments: Sequence[str]) -> int:
    """Run style, types, imports and tests, all of them; returns the first code that is not 0.

    The tests' own code comes before that of the others.
    """
    bin_dir = Path(sys.executable).parent
    steps = (
        (sys.executable, "-m", "ruff", "check", "."),
        (sys.executable, "-m", "ruff", "format", "--check", "."),
        (sys.executable, "-m", "mypy"),
        (str(bin_dir / "lint-imports"),),
        (sys.executable, "-m", "pytest", *pytest_arguments),
    )
    codes = []
    for argv in steps:
        print("+", " ".join((Path(argv[0]).name, *argv[1:])), flush=True)
        codes.append(subprocess.run(argv, cwd=root, check=False).returncode)  # noqa: S603
    return next((code for code in reversed(codes) if code), 0)
