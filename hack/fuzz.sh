#!/bin/bash
# fuzz.sh TIME: runs every fuzz test of the module for this long.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$ROOT"
grep -rlE --include='*_test.go' '^func Fuzz[A-Z]' . | xargs -rn1 dirname | sort -u | while read -r package; do
  for f in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$package"/*_test.go | cut -c6-); do
    began=$SECONDS
    out=$(go test -run '^$' -fuzz "^$f\$" -fuzztime "$1" "$package" 2>&1) || { printf '%s\n' "$out"; exit 1; }
    printf '%-40s %-20s %4ds  %s\n' "$package" "$f" $((SECONDS - began)) "$(grep -oE 'execs: [0-9]+' <<<"$out" | tail -n 1)"
  done
done
