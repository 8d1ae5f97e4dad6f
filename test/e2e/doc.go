// Package e2e tries the product on a real cluster: with the operator and the proxies in
// pods, a real PostgreSQL and psql as the client. The cluster is the local one of
// hack/cluster, because a spec kills a process inside a node; `make e2e` starts it and runs
// the specs, which need the build tag e2e.
//
// The specs run in order on one installation. They are named after the steps of the demo
// and the guarantees of the design that only a cluster can prove.
package e2e
