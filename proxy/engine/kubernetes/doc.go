// Package kubernetes lets Kubernetes clients through to an API server: plain requests, watches,
// logs, exec and attach. docs/kubernetes.md says what a grant and a Target are.
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
// parameters, upgrades of what is no stream), what no rule can be asked about, and what it
// cannot mask where something is to be masked.
//
// exec and attach are terminated on both sides:
//
//	client                      engine                         API server
//	  │─GET or POST, Upgrade─────▶│ understand, decide             │
//	  │◀──────────────101─────────│                                │
//	  │◀─stderr: held for …───────│ hold, record                   │
//	  │                           │─POST, written anew, Upgrade───▶│
//	  │═stdin, resize════════════▶│ record each part ═════════════▶│
//	  │◀═════stdout, stderr═══════│◀══════ mask, record ═══════════│
//	  │◀─error: how it ended──────│ record                         │
package kubernetes
