package postgres

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// alpnPeer is what a replica names in TLS that passes a request to cancel on. Whoever
	// names it gets less than others: only a cancel request is read, and it is never passed on
	// again. So it needs no proof.
	alpnPeer = "cardea-cancel"
	// maxForwards is how many requests to cancel are passed on at a time. Others wait, within
	// the time of their sign-in.
	maxForwards = 16
	// maxNamesakes is how many replicas one request is passed on to: two replicas rarely share
	// a name.
	maxNamesakes = 4
	// forwardTimeout bounds one of them.
	forwardTimeout = 3 * time.Second
	// foundFor is how long the addresses of the replicas are remembered.
	foundFor = time.Second
)

// Peers are the replicas of a gate. A client's request to cancel comes by a connection of
// its own and may reach any of them: its key names the one that has the session.
type Peers struct {
	// Self is where the others find this replica.
	Self netip.AddrPort
	// Find returns the addresses of the replicas. This one may be among them.
	Find func(ctx context.Context) ([]netip.AddrPort, error)
	// ServerName is in the serving certificate of each of them, which the authority of the
	// clients' certificates has signed.
	ServerName string
	// Dial connects to one.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// peers passes requests to cancel on. It is safe for concurrent use.
type peers struct {
	Peers
	engine *Engine
	slots  chan struct{}

	mu    sync.Mutex
	found []netip.AddrPort
	at    time.Time     // of found; zero if it is not known
	look  chan struct{} // closed when the look that is under way is over; nil if none is
}

func newPeers(e *Engine, p Peers) (*peers, error) {
	if !p.Self.IsValid() || p.Find == nil || p.Dial == nil || p.ServerName == "" {
		return nil, errors.New("postgres engine: peers need an own address, a way to find and to reach the others, and a server name")
	}
	return &peers{Peers: p, engine: e, slots: make(chan struct{}, maxForwards)}, nil
}

// nameOf is how the replica at an address is named in cancel keys.
func nameOf(a netip.AddrPort) uint32 {
	sum := sha256.Sum256([]byte(netip.AddrPortFrom(a.Addr().Unmap().WithZone(""), a.Port()).String()))
	return binary.BigEndian.Uint32(sum[:]) & (1<<nameBits - 1)
}

// forward passes a request to cancel on to the replicas that its key names. It returns when
// they have served it, or could not be reached.
func (p *peers) forward(ctx context.Context, pid uint32, body []byte) {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return
	}
	ctx, cancel := context.WithTimeout(ctx, forwardTimeout)
	defer cancel()
	left := maxNamesakes
	for _, a := range p.replicas(ctx) {
		if left == 0 {
			return
		}
		if nameOf(a) == pid>>nameShift && a != p.Self {
			left--
			// The sender is told nothing, whatever becomes of it; PostgreSQL does the same.
			_ = p.pass(ctx, a, body)
		}
	}
}

// replicas returns where the replicas are, none if that cannot be learned in this request's
// time. One looks for all who ask meanwhile, and nobody waits for longer than their own time.
func (p *peers) replicas(ctx context.Context) []netip.AddrPort {
	for {
		p.mu.Lock()
		if !p.at.IsZero() && p.engine.c.Now().Sub(p.at) < foundFor {
			defer p.mu.Unlock()
			return p.found
		}
		look := p.look
		if look == nil {
			p.look = make(chan struct{})
			p.mu.Unlock()
			return p.lookUp(ctx)
		}
		p.mu.Unlock()
		select {
		case <-look: // remembered, or the next one's to find out
		case <-ctx.Done():
			return nil
		}
	}
}

// lookUp finds the replicas and remembers them; that they could not be found as well. That
// the time of this request is over says nothing of the replicas.
func (p *peers) lookUp(ctx context.Context) []netip.AddrPort {
	found, err := p.Find(ctx)
	if err != nil || ctx.Err() != nil {
		found = nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ctx.Err() == nil {
		p.found, p.at = found, p.engine.c.Now()
	}
	close(p.look)
	p.look = nil
	return found
}

func (p *peers) pass(ctx context.Context, to netip.AddrPort, body []byte) error {
	base, err := p.engine.serving(&tls.ClientHelloInfo{ServerName: p.ServerName})
	if err != nil {
		return err
	}
	if base.ClientCAs == nil {
		return errors.New("no authority to verify a replica by")
	}
	c, err := p.Dial(ctx, "tcp", to.String())
	if err != nil {
		return fmt.Errorf("reach a replica: %w", err)
	}
	defer func() { _ = c.Close() }()
	stop := guard(ctx, c)
	defer stop()
	secure := tls.Client(c, &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: base.ClientCAs, ServerName: p.ServerName, NextProtos: []string{alpnPeer}})
	m := binary.BigEndian.AppendUint32(make([]byte, 0, 8+len(body)), uint32(8+len(body))) //nolint:gosec // bounded by a start-up packet
	m = append(binary.BigEndian.AppendUint32(m, codeCancel), body...)
	if _, err := secure.Write(m); err != nil {
		return fmt.Errorf("pass a request to cancel on: %w", err)
	}
	var b [1]byte
	_, _ = secure.Read(b[:]) // the replica closes the connection when it has served the request
	return nil
}
