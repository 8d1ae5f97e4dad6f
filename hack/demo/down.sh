#!/bin/bash
# Removes what the demo made: the local cluster, or with KUBECONFIG set its objects and namespaces.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
if [ -z "${KUBECONFIG:-}" ]; then
  run hack/cluster/cluster.sh down
  exit
fi
run kubectl delete --ignore-not-found -f config/samples/ssh/
run kubectl delete --ignore-not-found -f config/samples/kubernetes/
run kubectl delete --ignore-not-found -f config/samples/postgres/
run kubectl delete --ignore-not-found -k config/default
