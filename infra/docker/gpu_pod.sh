#!/usr/bin/env bash
# The first process of a GPU container: start Easel, show its logs, stop it on SIGTERM.
set -euo pipefail
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.."

stop() {
  trap - TERM INT
  ./startup.sh stop
  kill "$logs"
  exit 0
}

./startup.sh start || { ./startup.sh logs -n 50; ./startup.sh stop; exit 1; }
./startup.sh logs -f -n 0 &
logs=$!
trap stop TERM INT
wait "$logs"
