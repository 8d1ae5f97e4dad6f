// Package clients tries ordinary clients, unmodified, through the real proxy in front of a
// real PostgreSQL server, on a target without masks and on one with masks: what they show
// is compared with what they show without the gate.
//
// hack/preflight.sh installs the clients. A client that is missing fails its test; it is
// skipped only if the environment variable CARDEA_SKIP_MISSING_CLIENTS is set.
package clients
