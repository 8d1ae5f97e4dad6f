#!/bin/bash
# Everything that CI runs, stage by stage with timings. It ends with a table and leaves no process, mount or
# network device behind.
set -uo pipefail
. "$(dirname "$0")/env.sh"
cd "$ROOT"
unset KUBECONFIG
times=()

stage() { # NAME CMD...
  local name=$1 began=$SECONDS rc=0; shift
  printf '\n==> %s: %s\n' "$name" "$*"
  "$@" || rc=$?
  times+=("$(printf '%-10s %4ds  %s' "$name" $((SECONDS - began)) "$([ $rc = 0 ] && echo ok || echo "FAILED ($rc)")")")
  [ $rc = 0 ] || finish 1
}
finish() {
  printf '\n'; printf '%s\n' "${times[@]}" "$(printf '%-10s %4ds' total $SECONDS)"
  exit "$1"
}

stage preflight hack/preflight.sh
stage kubernetes hack/cluster/cluster.sh build
stage generated hack/verify-generated.sh
stage build make --no-print-directory build
stage lint hack/lint.sh
stage unit hack/unit.sh
stage fuzz hack/fuzz.sh "${CI_FUZZTIME:-20s}" plain
stage e2e hack/e2e.sh
finish 0
