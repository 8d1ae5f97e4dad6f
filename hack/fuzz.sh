#!/bin/bash
# fuzz.sh TIME: runs every fuzz test of the module for this long.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$ROOT"
grep -rlE --include='*_test.go' '^func Fuzz[A-Z]' . | xargs -rn1 dirname | sort -u | while read -r package; do
  for f in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$package"/*_test.go | cut -c6-); do
    echo "==> $package $f"
    go test -run '^$' -fuzz "^$f\$" -fuzztime "$1" "$package"
  done
done
