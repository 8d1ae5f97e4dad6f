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
while read -r package deps; do
  if [[ $deps == *"$parser"* ]]; then with+=("${package%.test}"); else without+=("${package%.test}"); fi
done < <(go list -test -f '{{.ImportPath}} {{join .Deps " "}}' ./... | grep -E '^[^ ]+\.test ')
[ ${#with[@]} -gt 0 ] && [ ${#without[@]} -gt 0 ]
go test -race -p 2 -timeout 15m "${without[@]}"
go test -p 2 -timeout 15m "${with[@]}"
(cd hack/images && go test ./...)
