#!/usr/bin/env bash
# Easel on this host: set up what is missing, then hand over to `infra.supervisor`.
# ./startup.sh [start|stop|restart|status|logs|doctor|modes|models|demo|test|install-comfyui] [--help]
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# setting NAME: print it from the environment, else from the last such line of an .env file.
# Nothing in the file is executed.
setting() {
  if [[ -n ${!1-} ]]; then printf '%s' "${!1}"; return; fi
  local file line
  for file in .env /workspace/.env; do
    [[ -r $file ]] || continue
    line=$(sed -nE "s/^[[:space:]]*(export[[:space:]]+)?$1[[:space:]]*=[[:space:]]*(.*)/\\2/p" "$file" | tail -n 1)
    line=${line%$'\r'}
    case $line in
      \"*) line=${line#\"}; line=${line%%\"*} ;;
      \'*) line=${line#\'}; line=${line%%\'*} ;;
      *) line=${line%%[[:space:]]#*} ;; # a comment
    esac
    if [[ -n $line ]]; then printf '%s' "$line"; return; fi
  done
}

find_python() {
  local name
  for name in "${EASEL_PYTHON:-}" python3.13 python3.12 python3.11 python3 python3.14; do
    [[ -n $name ]] || continue
    "$name" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    command -v "$name"; return
  done
  fail "no Python 3.11 or newer with venv. On Debian and Ubuntu: apt-get install python3 python3-venv; or set EASEL_PYTHON."
}

# Name the requirement files that the services of this host need; gate goes with the GPU server.
requirements() {
  local services
  services=$(setting EASEL_SERVICES)
  services=",${services// /},"
  if [[ $1 == test ]]; then echo dev; echo gate; return; fi
  if [[ $services == ,, ]]; then echo all; echo gate; return; fi
  echo ops
  if [[ $services == *,backend,* ]]; then echo backend; fi
  if [[ $services == *,telegram_bot,* || $services == *,local_telegram,* ]]; then echo bot; fi
  if [[ $services == *,comfyui,* || $services == *,gpu_server,* ]]; then echo gpu; echo gate; fi
}

pip_install() {
  "$venv/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
    --require-hashes "$@" ||
    fail "the packages cannot be installed, see above; a package index must be reachable."
}

# Succeed if the virtual environment already has these requirement files, for this checkout.
installed() {
  local file
  for file in "$@"; do grep -qxF "$(sha256sum "$file")" "$stamp" 2>/dev/null || return 1; done
  grep -qxF "$PWD" "$stamp" && [[ -x $venv/bin/python ]]
}

set_up() {
  local names name files=() options=()
  mapfile -t names < <(requirements "$1")
  for name in "${names[@]}"; do
    [[ -f requirements/$name.txt ]] || fail "requirements/$name.txt is missing: the checkout is incomplete."
    files+=("requirements/$name.txt")
    [[ $name == gate ]] || options+=(-r "requirements/$name.txt")
  done
  if installed requirements/{dev,gate}.txt || installed "${files[@]}"; then return; fi
  rm -f "$stamp"
  if ! "$venv/bin/python" -c 'import pip' 2>/dev/null; then
    echo "Creating the virtual environment $venv" >&2
    "$(find_python)" -m venv --clear "$venv" || fail "the virtual environment cannot be created in $venv."
  fi
  echo "Installing ${files[*]}" >&2 # stdout is for the answer, such as that of status --json
  pip_install "${options[@]}"
  if [[ ${names[*]} == *gate* ]]; then pip_install --no-deps -r requirements/gate.txt; fi
  "$venv/bin/python" - "$PWD" <<'PYTHON'
import pathlib, sys, sysconfig
pathlib.Path(sysconfig.get_path("purelib"), "easel.pth").write_text(sys.argv[1] + "\n")
command = pathlib.Path(sysconfig.get_path("scripts"), "easel-ssh")
command.write_text(f"#!{sys.executable}\nfrom infra.ssh_manager import main\nraise SystemExit(main())\n")
command.chmod(0o755)
PYTHON
  { sha256sum "${files[@]}"; echo "$PWD"; } >"$stamp"
}

command=${1:-start}
(( $# )) && shift
if [[ -d /workspace && -w /workspace ]]; then venv=/workspace/easel-venv; else venv=$PWD/.venv; fi
venv=${EASEL_VENV:-$venv}
stamp=$venv/.easel-installed
mkdir -p "$(dirname "$venv")"
{
  if command -v flock >/dev/null; then
    flock -n 9 || { echo "Another startup.sh is setting up; waiting for it." >&2; flock 9 || true; }
  fi
  set_up "$command" 9>&-
} 9<"$(dirname "$venv")" # the lock: several releases share the virtual environment

exec "$venv/bin/python" -m infra.supervisor "$command" "$@"
