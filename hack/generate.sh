#!/bin/bash
# Writes everything that is generated from the types of api/. The output is committed.
set -euo pipefail
. "$(dirname "$0")/env.sh"
cd "$ROOT"
controller_gen=$(tool controller-gen sigs.k8s.io/controller-tools/cmd/controller-gen $CONTROLLER_GEN_VERSION)
crd_ref_docs=$(tool crd-ref-docs github.com/elastic/crd-ref-docs $CRD_REF_DOCS_VERSION)
"$controller_gen" object paths=./api/v1alpha1
"$controller_gen" crd paths=./api/v1alpha1 output:crd:dir=config/crd/bases
rm -rf api/v1alpha1/applyconfiguration
"$controller_gen" applyconfiguration paths=./api/v1alpha1
mkdir -p docs
"$crd_ref_docs" --source-path=api/v1alpha1 --config=hack/docs/config.yaml --templates-dir=hack/docs/templates \
  --renderer=markdown --max-depth=12 --log-level=ERROR --output-path=docs/api.md
