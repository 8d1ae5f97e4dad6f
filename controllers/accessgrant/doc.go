// Package accessgrant turns a declared grant into a credential that expires.
//
// It accepts and approves a grant, mints and rotates its credential, delivers it into the
// subject's namespace, and takes it away when the grant is revoked, expired or deleted.
// The proxy enforces all of this by itself; what happens here is told in conditions.
//
// A credential's verifier is written to the grant's status before its Secret is. So a
// Secret never holds what the proxy does not know, and what a crash leaves between the two
// is a verifier of a password that exists nowhere. There are no finalizers: Secrets are
// found by their labels and swept when their grant is gone.
//
// It refuses to write into a namespace that has not asked for credentials of this gate,
// and over a Secret that is not its own.
package accessgrant
