#!/usr/bin/env bash
# Pins what each kind of host needs, with hashes, from the extras in pyproject.toml.
# Needs pip-tools (in requirements/dev.txt) and a package index. `--upgrade` takes newer versions.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"
python=${PYTHON:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" - "$work" <<'PYTHON'
import pathlib, re, sys, tomllib

project = tomllib.loads(pathlib.Path("../pyproject.toml").read_text())["project"]
extras = project["optional-dependencies"]


def needs(extra: str) -> set[str]:
    found = set(project["dependencies"])
    for requirement in extras.get(extra, []):
        ours = re.fullmatch(rf"{project['name']}\[(.+)\]", requirement)
        parts = [needs(name.strip()) for name in ours[1].split(",")] if ours else [{requirement}]
        found = found.union(*parts)
    return found


hosts = {name: needs(name) for name in ("gpu", "backend", "bot", "ops")}
hosts["all"] = set().union(*hosts.values())
hosts["dev"] = hosts["all"] | needs("dev")
for name, requirements in hosts.items():
    pathlib.Path(sys.argv[1], f"{name}.in").write_text("\n".join(sorted(requirements)) + "\n")
PYTHON

# dev.txt has everything; the others take their versions from it, so that all files agree.
pin() {
  local name=$1; shift
  echo "Pinning $name.txt"
  "$python" -m piptools compile --quiet --generate-hashes --allow-unsafe --strip-extras \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
    --output-file "$work/$name.txt" "$@" "$work/$name.in"
}
[[ ! -f dev.txt ]] || cp dev.txt "$work" # versions stay as they are where they can
pin dev "$@"
for name in all gpu backend bot ops; do pin "$name" --constraint "$work/dev.txt"; done
mv "$work"/*.txt .
