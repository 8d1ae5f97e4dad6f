#!/bin/bash
# Runs the tests of all packages, or `go test` with the arguments given. Without arguments everything that
# does not link the C parser runs under the race detector too, which would compile all of the parser again.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$ROOT"
if [ $# -gt 0 ]; then exec go test "$@"; fi
# The proxy that tests run as it is shipped, linked once for all of them.
if [ -z "${CARDEA_PROXY:-}" ]; then
  built=$(mktemp -d); trap 'rm -rf "$built"' EXIT
  export CARDEA_PROXY=$built/cardea-proxy
  go build -tags netgo,osusergo -ldflags '-s -w -linkmode external -extldflags -static' -o "$CARDEA_PROXY" ./cmd/proxy
fi
parser=github.com/pganalyze/pg_query_go
with=() without=()
while IFS= read -r package; do
  if go list -deps -test "$package" | grep -q "^$parser"; then with+=("$package"); else without+=("$package"); fi
done < <(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}}{{end}}' ./... | grep .)
go test -race -p 2 -timeout 15m "${without[@]}"
go test -p 2 -timeout 15m "${with[@]}"
(cd hack/images && go test ./...)
