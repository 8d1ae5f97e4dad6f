#!/bin/bash
# Runs test/e2e on a local cluster of its own, which ends with it whatever happens.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$ROOT"
export CLUSTER_ID=${E2E_CLUSTER_ID:-e2e}
if [ -z "${E2E_INSIDE:-}" ]; then E2E_INSIDE=1 exec hack/cluster/cluster.sh run "$0" "$@"; fi
hack/images.sh
go test -tags e2e -count 1 -v -timeout 20m ./test/e2e "$@"
