// Package credentials makes what a grant's subject signs in with: a random password, a
// client certificate, and the verifier by which the proxy recognises both. It also holds
// the authority of a gate, which signs the certificates of the proxy and of its clients.
//
// The package is pure: the operator mints with it in a cluster, the standalone proxy
// without one. It keeps nothing, and nothing it returns but Minted and an Authority's
// key is secret: a verifier admits nobody.
package credentials
