"""Old SQLites, with which DBOS does not start from Python 3.12 on."""

import subprocess
import sys
from pathlib import Path

from tests.services import DEADLINE_S, clean_environment

ON_AN_OLD_ONE = """
import sqlite3, sys
from backend.__main__ import main
sys.modules["pysqlite3"] = None
sys.version_info, sqlite3.sqlite_version_info = (3, 13, 0), (3, 40, 1)
main()
"""


def test_an_sqlite_that_is_too_old_stops_the_start_with_what_to_do(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ON_AN_OLD_ONE],
        env=clean_environment() | {"EASEL_DATA_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_S,
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith("error: SQLite ")
    assert "install pysqlite3-binary" in ran.stderr
    assert "Traceback" not in ran.stderr
