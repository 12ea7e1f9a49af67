"""The pinned packages against the database of known vulnerabilities."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TIME_LIMIT_S = 100


def audit(requirements: Path) -> list[dict[str, object]]:
    """pip-audit's findings; skips when its database is out of reach."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(requirements), "--require-hashes"]
    try:
        done = subprocess.run(
            [*command, "--disable-pip", "--format", "json", "--timeout", "10"],
            capture_output=True,
            text=True,
            timeout=TIME_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        pytest.skip("the database of vulnerabilities did not answer in time")
    if not done.stdout.startswith("{"):
        pytest.skip(f"the database of vulnerabilities is not reachable: {done.stderr[-200:]}")
    found: list[dict[str, object]] = json.loads(done.stdout)["dependencies"]
    return found


def test_no_pinned_package_has_a_known_vulnerability() -> None:
    found = audit(ROOT / "requirements" / "all.txt")
    audited = [package for package in found if "skip_reason" not in package]
    if not audited:
        pytest.skip("the database of vulnerabilities knows none of the packages from here")
    vulnerable = {
        f"{package['name']} {package['version']}": package["vulns"]
        for package in audited
        if package["vulns"]
    }
    assert not vulnerable
