#!/bin/bash
# Builds the images into bin/images and brings them to where the cluster finds them:
#   REGISTRY=host/path   pushes them there
#   local cluster        imports them (hack/cluster)
#   kind, k3d            loads them with their own commands, told by the current context
# `images.sh build` builds only.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$ROOT"
names=(operator proxy demo-postgres demo-client demo-host)
make_images() { (cd hack/images && go run . -bin "$ROOT/bin" -out "$ROOT/bin/images" "$@" "${names[@]}"); }
archives=("${names[@]/#/bin/images/}"); archives=("${archives[@]/%/.tar}")

if [ -n "${REGISTRY:-}" ]; then make_images -push "$REGISTRY"; exit; fi
make_images
[ "${1:-}" != build ] || exit 0
context=$(kubectl config current-context 2>/dev/null || true)
case $context in
cardea-local) hack/cluster/cluster.sh load "${archives[@]}" ;;
kind-*) for f in "${archives[@]}"; do kind load image-archive "$f" --name "${context#kind-}"; done ;;
k3d-*) k3d image import --cluster "${context#k3d-}" "${archives[@]}" ;;
"") echo "no cluster: the images are in bin/images" ;;
*) echo "cluster $context cannot be given images directly: set REGISTRY to a registry that it pulls from" >&2; exit 1 ;;
esac
