# shellcheck shell=bash
# Sourced by the tools: where the repository is, how a step says what it does, and how a long one shows
# that it is alive. Set STEP_NAME before sourcing; messages carry it as their prefix.
#
# Output: one line per step on stdout. What the wrapped programs print goes to build/log/<tool>.log; when
# one of them fails its last lines are shown and the tool ends with the program's exit status.

set -euo pipefail

ROOT=$(cd -P -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=$ROOT/build
STEP_LOG=$BUILD/log/$STEP_NAME.log
# A terminal gets the elapsed time rewritten in place; a log file gets a line every 15 s.
STEP_TICK_S=1
[ -t 1 ] || STEP_TICK_S=15

say() { printf '%s: %s\n' "$STEP_NAME" "$*"; }
warn() { printf '%s: warning: %s\n' "$STEP_NAME" "$*" >&2; }
die() {
  printf '%s: error: %s\n' "$STEP_NAME" "$*" >&2
  exit 1
}

step_log_start() {
  mkdir -p "$BUILD/log"
  : >"$STEP_LOG"
}

# long LABEL COMMAND…: runs COMMAND with its output in the log and shows the elapsed time meanwhile.
# Exit status: COMMAND's. Prints the end of the log when it fails.
long() {
  local label=$1 started=$SECONDS shown=0 status=0 pid
  shift
  printf '\n== %s: %s\n' "$label" "$*" >>"$STEP_LOG"
  "$@" >>"$STEP_LOG" 2>&1 </dev/null &
  pid=$!
  [ -t 1 ] || say "$label …"
  while kill -0 "$pid" 2>/dev/null; do
    if [ -t 1 ]; then
      printf '\r%s: %s … %d s\e[K' "$STEP_NAME" "$label" $((SECONDS - started))
    elif [ $((SECONDS - started - shown)) -ge $STEP_TICK_S ]; then
      shown=$((SECONDS - started))
      say "$label … $shown s"
    fi
    sleep 0.2
  done
  wait "$pid" || status=$?
  [ -t 1 ] && printf '\r\e[K'
  if [ $status -ne 0 ]; then
    say "$label: failed with exit status $status after $((SECONDS - started)) s; the end of $STEP_LOG:" >&2
    tail -n 25 "$STEP_LOG" | sed 's/^/  | /' >&2
    return $status
  fi
  say "$label: done, $((SECONDS - started)) s"
}

need_root() {
  [ "$(id -u)" = 0 ] || die "must run as root: it $1. Run it again with sudo"
}

# The project's own Node (npm package `node`), whatever Node the host has.
PROJECT_NODE=$ROOT/node_modules/node/bin/node
