// Package kubernetes lets Kubernetes clients through to an API server: plain requests, watches
// and logs. docs/kubernetes.md says what a grant and a Target are.
//
//	client                      engine                         API server
//	  │─TLS, client certificate──▶│ who, before any HTTP           │
//	  │─request──────────────────▶│ understand, decide, hold       │
//	  │                           │ record                         │
//	  │                           │─own credential, Impersonate───▶│
//	  │                           │◀──────────────────answer───────│
//	  │◀─the same bytes───────────│ record                         │
//
// A connection belongs to the grant of its client certificate. No header of a client reaches
// the API server unless its name is in a list, so that there is no header to be stripped.
//
// It refuses what the API server might read differently (paths that are not clean, repeated
// parameters, upgrades of what is no stream), what no rule can be asked about, and requests
// that lead into containers, which it does not carry.
package kubernetes
