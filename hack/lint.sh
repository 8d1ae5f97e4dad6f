#!/bin/bash
# Runs golangci-lint, and go vet over the modules of hack/.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$ROOT"
"$(tool golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint $GOLANGCI_LINT_VERSION)" run --allow-parallel-runners "$@"
(cd hack/images && go vet ./...)
