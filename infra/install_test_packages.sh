#!/usr/bin/env bash
# Install what some tests need: a browser, an SSH server, PostgreSQL, promtool, shellcheck; and
# Python's venv, which startup.sh needs and Debian packages separately.
# What cannot be installed here is listed at the end; the tests that need it are skipped.
# The servers are installed, but not started.
set -uo pipefail

declare -A package_of=(
  [chromium]=chromium [chromedriver]=chromium-driver [sshd]=openssh-server
  [postgres]=postgresql [promtool]=prometheus [shellcheck]=shellcheck
  [venv]=python3-venv
)

have() {
  if [[ $1 == venv ]]; then python3 -c 'import venv, ensurepip' 2>/dev/null; return; fi
  [[ -n $(PATH=$PATH:/usr/sbin:/usr/local/sbin type -P "$1") ]] && return
  case $1 in
    chromium) type -P google-chrome chromium-browser >/dev/null ;;
    postgres) compgen -G '/usr/lib/postgresql/*/bin/postgres' >/dev/null ;;
    *) return 1 ;;
  esac
}

missing() {
  local program
  for program in "${!package_of[@]}"; do have "$program" || echo "$program"; done | sort
}

as_root=()
(( EUID == 0 )) || as_root=(sudo -n)
mapfile -t wanted < <(missing)
(( ${#wanted[@]} )) || { echo "Everything the tests need is installed."; exit 0; }

if ! command -v apt-get >/dev/null; then
  echo "apt-get is not available here."
elif ! "${as_root[@]}" true 2>/dev/null; then
  echo "Installing needs root or sudo without a password."
else
  # env, as sudo drops the environment; the lock timeout, as a new machine may be updating itself
  apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq
    -o DPkg::Lock::Timeout=120 -o Acquire::Retries=1 -o Acquire::http::Timeout=20)
  policy=/usr/sbin/policy-rc.d # Debian's way to install a server without starting it
  if [[ ! -e $policy ]]; then
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
  fi
  "${apt[@]}" update </dev/null || true
  for program in "${wanted[@]}"; do # one by one: a missing package must not stop the others
    "${apt[@]}" install -y --no-install-recommends "${package_of[$program]}" </dev/null >/dev/null || true
  done
fi

mapfile -t left < <(missing)
(( ${#left[@]} )) && echo "Not installed: ${left[*]}. Tests that need them are skipped."
exit 0
