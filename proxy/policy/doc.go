// Package policy decides. It compiles custom resources into an immutable Snapshot,
// admits a session against it and decides on each command.
//
// The package is pure: no clock, no network, no client. The operator compiles with it
// too, so that a condition and a decision never disagree.
//
// Zero values deny: a zero Decision is a denial, a zero Snapshot admits nobody, a
// command without facts is unknown.
package policy
