# Everything a developer runs. `make` alone lists it.
SHELL := /bin/bash
.DEFAULT_GOAL := help

export CLUSTER_ID ?= cardea

# The proxy carries PostgreSQL's own parser, which is C and wants glibc; it is linked statically.
STATIC := -tags netgo,osusergo -ldflags '-s -w -linkmode external -extldflags -static'
FUZZTIME ?= 20s

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

##@ Build

.PHONY: build
build: ## Build bin/cardea-operator, bin/cardea-proxy and bin/kubectl-access
	CGO_ENABLED=0 go build -ldflags '-s -w' -o bin/cardea-operator ./cmd/operator
	CGO_ENABLED=1 go build $(STATIC) -o bin/kubectl-access ./cmd/kubectl-access
	CGO_ENABLED=1 go build $(STATIC) -o bin/cardea-proxy ./cmd/proxy

.PHONY: images
images: build ## Build container images without Docker; REGISTRY=host/path pushes them
	hack/images.sh

.PHONY: generate
generate: ## Write everything that is generated from api/
	hack/generate.sh

##@ Check

.PHONY: test
test: ## Everything that CI runs, on this machine; needs root for the local cluster
	hack/test.sh

.PHONY: unit
unit: ## Tests of all packages without the local cluster; ARGS='-run X ./pkg' narrows them
	hack/unit.sh $(ARGS)

.PHONY: e2e
e2e: build ## End-to-end tests on a local cluster of their own
	hack/e2e.sh

.PHONY: lint
lint: ## Run golangci-lint
	hack/lint.sh

.PHONY: verify-generated
verify-generated: ## Fail when generated files differ from what the types say
	hack/verify-generated.sh

.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZTIME
	hack/fuzz.sh $(FUZZTIME)

.PHONY: bench
bench: preflight ## Measure the gate against direct, PgBouncer and a bare relay; about 35 minutes
	go test -tags bench -run '^$$' -bench . -benchtime 1x -timeout 90m ./test/bench

.PHONY: bench-kubernetes
bench-kubernetes: preflight ## Measure kubectl's requests and streams through the gate against direct; about 5 minutes
	hack/unit.sh -tags bench -run '^$$' -bench . -benchtime 1x -timeout 60m ./test/integration/kubernetes

.PHONY: bench-ssh
bench-ssh: preflight ## Measure ssh and scp through the gate against direct; about 5 minutes
	hack/unit.sh -tags bench -run '^$$' -bench . -benchtime 1x -timeout 60m ./test/integration/ssh

.PHONY: preflight
preflight: ## Check this machine and, as root on Debian, install what is missing
	hack/preflight.sh

##@ Play

.PHONY: demo
demo: ## Show a grant opening PostgreSQL through the gate; uses KUBECONFIG if it is set
	hack/demo/demo.sh

.PHONY: demo-down
demo-down: ## Remove what the demo made
	hack/demo/down.sh

.PHONY: cluster-up
cluster-up: ## Start the local Kubernetes of hack/cluster
	hack/cluster/cluster.sh up

.PHONY: cluster-down
cluster-down: ## End the local Kubernetes and check that nothing is left
	hack/cluster/cluster.sh down
