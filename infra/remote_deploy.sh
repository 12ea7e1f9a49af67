# shellcheck shell=bash
# Runs on the host as one script. The caller sets ACTION (deploy, rollback or check), WORKDIR,
# RELEASE, DIGEST (of the archive on stdin), KEEP, ADOPT (yes or empty) and the array SHARED
# (paths inside the checkout that outlive a release; a directory ends in /).
#
#   $WORKDIR            a link to the release in use
#   $WORKDIR-deploy/    releases/<sha>/  shared/  deployed/<sha> (ordered by mtime)  lock
# shellcheck disable=SC2153 # the caller sets SHARED
set -euo pipefail
: "${ACTION:?}" "${WORKDIR:?}" "${KEEP:?}" "${RELEASE?}" "${DIGEST?}" "${ADOPT?}"

home=$WORKDIR-deploy
releases=$home/releases
shared=$home/shared
deployed=$home/deployed
adopted= # whether this deploy stopped a checkout that ran before

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "deploy: $1"
  exit "${2:-1}"
}

release_in_use() {
  [ ! -L "$WORKDIR" ] || basename "$(readlink "$WORKDIR")"
}

by_age() { # newest first
  # shellcheck disable=SC2012 # names are commit ids
  [ ! -d "$deployed" ] || ls -1t "$deployed"
}

previous_of() { # the release deployed before $1
  by_age | sed -n "/^$1\$/{n;p}"
}

lock() {
  mkdir -p "$releases" "$shared" "$deployed"
  exec 9>>"$home/lock"
  flock -n 9 || fail "another deploy is running on this host; try again when it has finished" 75
}

startup_in() { # closes the lock, or the services would hold it while they run
  (cd "$1" && ./startup.sh "${@:2}") </dev/null 9>&-
}

point_to() {
  ln -sfn "$releases/$1" "$WORKDIR.new"
  mv -fT "$WORKDIR.new" "$WORKDIR"
}

adopt() {
  if [ -L "$WORKDIR" ] || [ ! -e "$WORKDIR" ]; then return 0; fi
  if rmdir "$WORKDIR" 2>/dev/null; then return 0; fi
  [ -n "$ADOPT" ] || fail "$WORKDIR is a checkout that deploy did not make. deploy --adopt stops it, \
keeps it as a release for --rollback, and moves its settings and data to $shared"
  if [ -x "$WORKDIR/startup.sh" ]; then
    startup_in "$WORKDIR" stop
    adopted=yes
  fi
  local name
  name=adopted-$(date +%Y%m%d%H%M%S)
  mv "$WORKDIR" "$releases/$name"
  touch "$deployed/$name"
  point_to "$name"
}

keep_shared() { # moves out settings and data that were created inside the release in use
  local path
  [ -e "$WORKDIR" ] || return 0
  for path in "${SHARED[@]}"; do
    path=${path%/}
    if [ ! -e "$WORKDIR/$path" ] || [ -L "$WORKDIR/$path" ]; then continue; fi
    mkdir -p "$(dirname "$shared/$path")"
    if [ -e "$shared/$path" ]; then mv -T "$shared/$path" "$shared/$path.before-$(date +%s)"; fi
    mv -T "$WORKDIR/$path" "$shared/$path"
    ln -s "$shared/$path" "$WORKDIR/$path"
  done
}

link_shared() { # links missing files too: once someone creates them, they take effect at once
  local path
  for path in "${SHARED[@]}"; do
    mkdir -p "$(dirname "$shared/$path")" "$(dirname "$1/$path")"
    case $path in */) mkdir -p "$shared/$path" ;; esac
    path=${path%/}
    if [ "$(readlink "$1/$path")" = "$shared/$path" ]; then continue; fi
    [ ! -e "$1/$path" ] || fail "$path is shared between releases, so it must not be in git"
    ln -sfn "$shared/$path" "$1/$path"
  done
}

unpack() {
  local tree=$releases/.unfinished
  rm -rf "$tree"
  mkdir "$tree"
  cat >"$home/incoming"
  [ "$(sha256sum <"$home/incoming" | cut -c1-64)" = "$DIGEST" ] ||
    fail "the archive arrived damaged (SHA-256 differs); nothing was changed, deploy again"
  tar -xzf "$home/incoming" -C "$tree"
  rm "$home/incoming"
  [ -x "$tree/startup.sh" ] || fail "commit $RELEASE has no executable startup.sh"
  rm -rf "${releases:?}/$RELEASE" # left over from an interrupted deploy
  mv -T "$tree" "$releases/$RELEASE"
}

prune() {
  local name number=0
  for name in $(by_age); do
    number=$((number + 1))
    if [ "$number" -le "$KEEP" ] || [ "$name" = "$(release_in_use)" ]; then continue; fi
    rm -rf "${deployed:?}/$name" # first: it says that the release is complete
    rm -rf "${releases:?}/$name"
  done
}

# Install the packages of release $1 and check the settings with it, while the old one still runs.
prepare() {
  local code=0
  startup_in "$releases/$1" setup || code=$?
  if [ "$code" -eq 2 ] && ! grep -qw setup "$releases/$1/startup.sh"; then return 0; fi # an older release
  [ "$code" -ne 0 ] || return 0
  say "release $1 cannot be set up here ($code), see above; ${2:-no release} stays in use"
  forget "$1"
  if [ -n "$adopted" ]; then startup_in "$WORKDIR" start || true; fi
  exit "$code"
}

forget() { # removes a release that never came up
  if [ -e "$deployed/$1" ] || [ "$1" = "$(release_in_use)" ]; then return 0; fi
  rm -rf "${releases:?}/$1"
}

# Put release $1 in use and wait until it is ready; go back to $2, which ran before, when it is not.
put_in_use() {
  local code=0
  point_to "$1"
  say "release $1 is in use (previous: ${2:-none})"
  startup_in "$WORKDIR" "$([ -n "$2" ] && echo restart || echo start)" || code=$?
  [ "$code" -ne 0 ] || return 0
  say "release $1 did not come up ($code), see above"
  if [ -n "$2" ] && [ "$1" != "$2" ]; then
    point_to "$2"
    forget "$1"
    if startup_in "$WORKDIR" restart; then
      say "went back to release $2, which is in use and ready; nothing else was changed"
    else
      say "went back to release $2, but it did not come up either: easel-ssh status, easel-ssh logs"
    fi
  else
    touch "$deployed/$1" # there is no other
    say "correct what is named above, then deploy again"
  fi
  exit "$code"
}

deploy() {
  local previous
  lock
  adopt
  previous=$(release_in_use)
  keep_shared
  if [ -e "$deployed/$RELEASE" ]; then say "release $RELEASE is already on the host"; else unpack; fi
  link_shared "$releases/$RELEASE"
  prepare "$RELEASE" "$previous"
  put_in_use "$RELEASE" "$previous"
  touch "$deployed/$RELEASE"
  prune # only now that this release works: the one to roll back to might be the oldest
}

rollback() {
  local current
  lock
  current=$(release_in_use)
  [ -n "$current" ] || fail "nothing has been deployed to $WORKDIR yet"
  [ -n "$RELEASE" ] || RELEASE=$(previous_of "$current")
  [ -n "$RELEASE" ] || fail "there is no release before $current"
  [ -e "$deployed/$RELEASE" ] || fail "there is no release $RELEASE; releases: $(by_age | tr '\n' ' ')"
  keep_shared
  link_shared "$releases/$RELEASE"
  prepare "$RELEASE" "$current"
  put_in_use "$RELEASE" "$current"
}

check() {
  local tool problems=0
  for tool in tar gzip sha256sum flock; do
    command -v "$tool" >/dev/null || { say "missing on the host: $tool"; problems=3; }
  done
  if [ -e "$WORKDIR" ] && [ ! -L "$WORKDIR" ] && [ -n "$(ls -A "$WORKDIR")" ] && [ -z "$ADOPT" ]; then
    say "$WORKDIR is a checkout that deploy did not make: deploy --adopt"
    problems=3
  fi
  if [ -e "$home/lock" ] && ! flock -n "$home/lock" true; then
    say "another deploy is running"
    problems=3
  fi
  printf 'in use: %s\n' "$(release_in_use)"
  printf 'releases: %s\n' "$(by_age | tr '\n' ' ')"
  printf 'to deploy: %s%s\n' "$RELEASE" "$([ ! -e "$deployed/$RELEASE" ] || echo ' (already on the host)')"
  printf 'disk: %s\n' "$(df -Ph "$(dirname "$WORKDIR")" 2>/dev/null | awk 'NR==2 {print $4 " free"}')"
  exit "$problems"
}

"$ACTION"
