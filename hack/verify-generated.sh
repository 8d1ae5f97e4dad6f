#!/bin/bash
# Generates into a copy of the tree and fails when the committed files differ.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$ROOT"
generated=(api/v1alpha1 config/crd/bases docs/api.md)
copy=$(mktemp -d); trap 'rm -rf "$copy"' EXIT
cp -r --parents go.mod go.sum hack/env.sh hack/generate.sh hack/docs "${generated[@]}" "$copy"
"$copy/hack/generate.sh"
for path in "${generated[@]}"; do
  diff -ru "$path" "$copy/$path" || { echo "generated files are stale: run make generate and commit the result" >&2; exit 1; }
done
echo "generated files are as the types say"
