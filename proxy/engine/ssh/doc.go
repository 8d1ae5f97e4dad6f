// Package ssh lets SSH clients through to an SSH server. docs/ssh.md says what a grant and a
// Target are.
//
//	client                       engine                         server
//	  │─key exchange, certificate─▶│ who, and which login          │
//	  │─open a session, exec──────▶│ understand, decide            │
//	  │◀─stderr: held for …────────│ hold, record                  │
//	  │                            │─sign in, open a session──────▶│
//	  │                            │─exec─────────────────────────▶│
//	  │═stdin, window-change══════▶│ record each part ════════════▶│
//	  │◀═════stdout, stderr════════│ mask, record ◀════════════════│
//	  │◀─exit-status, close────────│ record                        │
//
// Both legs are connections of their own (RFC 4253), so that nothing of a client reaches the
// server but what was understood: a login by a certificate of the gate's authority alone, and
// of the requests of RFC 4254 those that are named in this package. The server is not
// connected to before something is permitted.
//
// It refuses every other way to sign in, keys that are not certificates, channels and requests
// that it does not know, X11, and forwards of UNIX sockets.
package ssh
