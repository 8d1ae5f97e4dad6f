// Package engine is what the gate and the protocol engines have in common. Each engine
// lives alone in a folder of its own.
//
//	client          engine                    gate                     target
//	  │──handshake────▶│                        │                         │
//	  │                │──Conn.Request─────────▶│ admit, open recording   │
//	  │                │◀─Serve(session)────────│                         │
//	  │                │──Session.Upstream──────┼────────sign in─────────▶│
//	  │──command──────▶│──Session.Authorize────▶│ decide, hold, record    │
//	  │                │──forward (Permit)──────┼────────────────────────▶│
//	  │                │◀───────────────────────┼──────response───────────│
//	  │                │ mask, Session.Record──▶│                         │
//	  │◀──response─────│                        │                         │
package engine

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

// Engine speaks one protocol.
type Engine interface {
	// Handshake takes a connection to the point where the client has proven its identity and
	// said what it wants. It dials nothing upstream. ctx carries the deadline. On an error the
	// engine has told the client, as far as the protocol allows; the caller closes c.
	Handshake(ctx context.Context, c net.Conn) (Conn, error)
}

// Conn is a client that has proven its identity.
type Conn interface {
	// Request says what the client asks for.
	Request() policy.Request
	// Deny tells the client why it is refused. The caller closes the connection.
	Deny(ctx context.Context, reason error)
	// Serve carries the session until either side closes or ctx ends, and returns when both
	// legs are closed and nothing of it runs any more. If ctx ends, the client is told
	// context.Cause(ctx) in its protocol and a running statement is cancelled upstream.
	Serve(ctx context.Context, s *session.Session) error
}

// Directory knows the credentials that the gate accepts.
type Directory interface {
	// Verifiers returns what a credential of the named grant is checked against now; none if
	// there is no such grant. It says nothing about whether the grant is open.
	Verifiers(grant string, now time.Time) []policy.Verifier
}

// ErrServed is what Handshake returns for a connection that asked for no session and has
// been served: a request to cancel, a probe that went away.
var ErrServed = errors.New("served without a session")
