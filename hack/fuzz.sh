#!/bin/bash
# fuzz.sh TIME [plain]: runs every fuzz test of the module for this long, one on each processor. With `plain`
# those that link the C parser run as they are in the other tests, without guidance by coverage: to instrument
# them is to compile all of the parser once more.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$ROOT"
time=$1 how=${2:-}
parser=github.com/pganalyze/pg_query_go
built=$(mktemp -d); trap 'rm -rf "$built"' EXIT
cache=$(go env GOCACHE)/fuzz/$(go list -m)

# fuzz BINARY PACKAGE TEST
fuzz() {
  local began=$SECONDS out rc=0
  out=$(cd "$2" && "$1" -test.run '^$' -test.fuzz "^$3\$" -test.fuzztime "$time" -test.parallel 1 -test.fuzzcachedir "$cache/${2#./}" 2>&1) || rc=$?
  # An input that is under way when the time is up counts as a failure for some versions of Go.
  if [ $rc != 0 ] && ! { grep -q 'context deadline exceeded' <<<"$out" && ! grep -q 'Failing input' <<<"$out"; }; then
    printf '%s %s\n%s\n' "$2" "$3" "$out"; return 1
  fi
  printf '%-40s %-28s %4ds  %s\n' "$2" "$3" $((SECONDS - began)) "$(grep -oE 'execs: [0-9]+' <<<"$out" | tail -n 1)"
}
export -f fuzz
export time cache

n=0
for package in $(grep -rlE --include='*_test.go' '^func Fuzz[A-Z]' . | xargs -rn1 dirname | sort -u); do
  instrument=(-fuzz .) n=$((n + 1))
  if [ "$how" = plain ] && go list -deps -test "$package" | grep "^$parser" >/dev/null; then instrument=(); fi
  go test -c "${instrument[@]}" -o "$built/$n" "$package"
  for f in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$package"/*_test.go | cut -c6-); do echo "$built/$n $package $f"; done >>"$built/list"
done
xargs -P "$(nproc)" -L 1 bash -c 'fuzz "$@"' fuzz <"$built/list"
