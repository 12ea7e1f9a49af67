#!/usr/bin/env bash
# Easel on this host: set up what is missing, then hand over to `infra.supervisor`.
# ./startup.sh [start|stop|restart|status|logs|doctor|modes|setup|backup|restore|models|demo|test|install-comfyui] [--help]
#
# Each set of packages has a virtual environment of its own, $venv-<digest>, made beside the others:
# a set-up that fails changes nothing, and an older release finds its own again. $venv links to the
# last one that was set up.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")"

fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# Refuse an .env file with a line that would be passed over; its content is never shown.
check_env_files() {
  local file line
  for file in .env /workspace/.env; do
    [[ -r $file ]] || continue
    line=$(LC_ALL=C grep -anvE $'^(\xEF\xBB\xBF)?[[:space:]]*($|#|(export[[:space:]]+)?[A-Za-z_][A-Za-z0-9_]*[[:space:]]*=)' \
      "$file" | head -n 1 || true)
    [[ -z $line ]] || fail "$file, line ${line%%:*}: it is not NAME=value. Write each setting as NAME=value in UTF-8 text."
  done
}

# setting NAME: print it from the environment, else from the last such line of an .env file.
# Nothing in the file is executed.
setting() {
  if [[ -n ${!1-} ]]; then printf '%s' "${!1}"; return; fi
  local file line
  for file in .env /workspace/.env; do
    [[ -r $file ]] || continue
    line=$(LC_ALL=C sed -nE $'1s/^\xEF\xBB\xBF//;'"s/^[[:space:]]*(export[[:space:]]+)?$1[[:space:]]*=[[:space:]]*(.*)/\\2/p" "$file" | tail -n 1)
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
  local services name
  services=$(setting EASEL_SERVICES)
  services=",${services//[[:space:]]/},"
  if [[ $1 == test ]]; then echo dev; echo gate; return; fi
  for name in ${services//,/ }; do
    [[ " $all_services " == *" $name "* ]] || fail "EASEL_SERVICES names $name; allowed: ${all_services// /, }."
  done
  if [[ $services == ,, ]]; then echo all; echo gate; return; fi
  echo ops
  if [[ $services == *,backend,* ]]; then echo backend; fi
  if [[ $services == *,telegram_bot,* || $services == *,local_telegram,* ]]; then echo bot; fi
  if [[ $services == *,comfyui,* || $services == *,gpu_server,* ]]; then echo gpu; echo gate; fi
}

pip_install() {
  local errors
  errors=$("$1/bin/python" -m pip install --quiet --no-input --disable-pip-version-check \
    --require-hashes "${@:2}" 2>&1) && return
  printf '%s\n' "$errors" >&2
  if [[ $errors == *"No space left"* || $errors == *"Disk quota"* ]]; then
    give_up "$1" "the packages cannot be installed: the disk is full. Free some space, then try again."
  fi
  give_up "$1" "the packages cannot be installed, see above; a package index must be reachable."
}

give_up() { # leave nothing of a virtual environment that was not finished
  rm -rf "$1"
  fail "${*:2}"
}

# place FILE…: print the folder of the virtual environment for these requirement files.
place() { printf '%s-%s' "$venv" "$(cat "$@" | sha256sum | cut -c1-12)"; }

# complete FOLDER FILE…: succeed if that virtual environment has these requirement files.
complete() {
  local file
  for file in "${@:2}"; do grep -qxF "$(sha256sum "$file")" "$1/$stamp" 2>/dev/null || return 1; done
  [[ -x $1/bin/python ]]
}

# Set `chosen` to a complete virtual environment for `files`; fail if there is none.
choose() {
  local dev=(requirements/{dev,gate}.txt)
  for chosen in "$(place "${dev[@]}")" "$venv"; do # development has every package
    if complete "$chosen" "${dev[@]}"; then return; fi
  done
  for chosen in "$(place "${files[@]}")" "$venv"; do
    if complete "$chosen" "${files[@]}"; then return; fi
  done
  return 1
}

# Set `chosen` to any virtual environment in which the launcher runs, the last used first.
choose_any() {
  local folders
  mapfile -t folders < <(ls -dt "$venv" "$venv"-*/ 2>/dev/null)
  for chosen in "${folders[@]%/}"; do
    if "$chosen/bin/python" -c 'import infra.supervisor.__main__' 2>/dev/null; then return; fi
  done
  return 1
}

install() {
  local name options=()
  chosen=$(place "${files[@]}")
  for name in "${names[@]}"; do [[ $name == gate ]] || options+=(-r "requirements/$name.txt"); done
  echo "Creating the virtual environment $chosen" >&2
  "$(find_python)" -m venv --clear "$chosen" || give_up "$chosen" "the virtual environment cannot be created in $chosen."
  echo "Installing ${files[*]}" >&2 # stdout is for the answer, such as that of status --json
  pip_install "$chosen" "${options[@]}"
  if [[ ${names[*]} == *gate* ]]; then pip_install "$chosen" --no-deps -r requirements/gate.txt; fi
  sha256sum "${files[@]}" >"$chosen/$stamp.new"
  mv "$chosen/$stamp.new" "$chosen/$stamp"
}

# Put the chosen virtual environment in use: the checkout in its path, `easel-ssh`, the link, and
# those that were not used for longest removed.
use() {
  local site script old
  chosen=$(readlink -f "$chosen") # a link may be moved while services run
  [[ -w $chosen ]] || return 0 # in a container it belongs to the image
  site=$(echo "$chosen"/lib/python3.*/site-packages)
  touch "$chosen/$stamp" "$chosen"
  if [[ $(cat "$site/easel.pth" 2>/dev/null) != "$PWD" ]]; then
    echo "$PWD" >"$site/easel.pth"
    script=$chosen/bin/easel-ssh
    printf '#!%s\nfrom infra.ssh_manager import main\nraise SystemExit(main())\n' "$chosen/bin/python" >"$script"
    chmod +x "$script"
  fi
  if [[ $chosen != "$(readlink -f "$venv")" && ( -L $venv || ! -e $venv ) ]]; then
    ln -sfn "$chosen" "$venv"
  fi
  # shellcheck disable=SC2012 # names end in a digest
  ls -dt "$venv"-*/ 2>/dev/null | tail -n "+$((kept + 1))" | while read -r old; do rm -rf "$old"; done
}

set_up() {
  local names files=() name
  check_env_files
  names=$(requirements "$1")
  mapfile -t names <<<"$names"
  for name in "${names[@]}"; do
    [[ -f requirements/$name.txt ]] || fail "requirements/$name.txt is missing: the checkout is incomplete."
    files+=("requirements/$name.txt")
  done
  choose || install
  use
}

all_services="comfyui gpu_server backend local_telegram telegram_bot"
stamp=.easel-installed
kept=4 # virtual environments: a release in use, those to roll back to
command=${1:-start}
(( $# )) && shift
if [[ -d /workspace && -w /workspace ]]; then venv=/workspace/easel-venv; else venv=$PWD/.venv; fi
venv=${EASEL_VENV:-$venv}
mkdir -p "$(dirname "$venv")"

case $command in
  --version)
    sed -nE 's/^VERSION = "(.*)"/Easel \1/p' web/__init__.py
    exit ;;
  start | restart | demo)
    if [[ -d /workspace && -w /workspace && $EUID == 0 ]]; then
      infra/supervisor/host_keys.sh /etc/ssh /workspace/.ssh_host ||
        echo "warning: the SSH host keys cannot be kept in /workspace/.ssh_host, see above." >&2
    fi ;;
esac

case $command in
  status | logs | stop | doctor) # these look at what is there and never install
    files=()
    for name in $(requirements "$command" 2>/dev/null || echo all gate); do files+=("requirements/$name.txt"); done
    if ! choose 2>/dev/null; then
      choose_any || fail "Easel is not set up here yet; ./startup.sh setup installs its packages."
      echo "warning: the packages of this release are not installed; ./startup.sh setup installs them." >&2
    fi ;;
  *)
    {
      if command -v flock >/dev/null; then
        flock -n 9 || { echo "Another startup.sh is setting up; waiting for it." >&2; flock 9 || true; }
      fi
      set_up "$command" 9>&-
    } 9<"$(dirname "$venv")" ;; # the lock: several releases share the folder
esac

exec "$chosen/bin/python" -m infra.supervisor "$command" "$@"
