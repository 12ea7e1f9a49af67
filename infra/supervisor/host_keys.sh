#!/usr/bin/env bash
# host_keys.sh SYSTEM KEPT: bring the SSH host keys in KEPT back to SYSTEM, or keep those of SYSTEM
# (made if there are none) while KEPT is empty. A pod forgets /etc/ssh when it is reset, and would
# look like another machine each time. startup.sh runs this before anything that can fail.
set -euo pipefail
shopt -s nullglob
system=$1 kept=$2
umask 077

copy() { # from, to: copy the keys that differ; succeed if there was one
  local key copied=1
  for key in "$1"/ssh_host_*_key "$1"/ssh_host_*_key.pub; do
    if cmp -s "$key" "$2/${key##*/}"; then continue; fi
    cp "$key" "$2/${key##*/}.new"
    mv "$2/${key##*/}.new" "$2/${key##*/}"
    copied=0
  done
  return "$copied"
}

[[ -d $system ]] || exit 0
kept_keys=("$kept"/ssh_host_*_key)
if (( ${#kept_keys[@]} )); then
  pid=$(cat /run/sshd.pid 2>/dev/null || true)
  if copy "$kept" "$system" && [[ $pid && $(tr '\0' ' ' <"/proc/$pid/cmdline") == *sshd* ]]; then
    kill -HUP "$pid" # it reads the keys again
  fi
  exit 0
fi
mkdir -p "$kept"
system_keys=("$system"/ssh_host_*_key)
if ! (( ${#system_keys[@]} )) && command -v ssh-keygen >/dev/null; then
  ssh-keygen -q -t ed25519 -N '' -f "$system/ssh_host_ed25519_key" >/dev/null
fi
copy "$system" "$kept" || true
