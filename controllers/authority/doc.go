// Package authority keeps the certificate authorities of the operator: one for each gate
// and one for its own webhooks. It says when they and the certificates that they sign are
// replaced, and keeps both in the form of Secret data.
//
// An authority is replaced long before it ends: its successor is published in the bundle
// first, so that whoever trusts the bundle has time to read it, signs only after that, and
// the predecessor stays in the bundle until it ends.
package authority
