package sftp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

// Relay relays one session of SFTP. Guard and Log are required.
type Relay struct {
	Guard files.Guard
	Log   files.Log
	// Patience is how long a request may wait for its guard before others pass it; 100 ms if zero.
	Patience time.Duration
}

// Bounds of one session.
const (
	maxUnderway = 512     // requests of open files without an answer
	maxOwn      = 1 + 128 // questions of the relay's own, and the request that they are for
	maxQueued   = 128     // requests with paths that wait for their turn
	maxHeld     = 16      // those of them that wait for their guard
	maxHandles  = 1024    // open files and directories
)

var (
	errClient    = errors.New("the client broke the protocol")
	errServer    = errors.New("the server broke the protocol")
	errAnswer    = fmt.Errorf("%w: an answer that is not well-formed", errServer)
	errNoChecker = errors.New("a relay without a guard or a log")
)

// pending is a request without an answer.
type pending struct {
	busy   bool
	typ    byte
	ext    string
	id     uint32   // the client's number
	asks   *request // one about paths
	call   *call    // one of the relay's own
	handle *handle  // one of an open file
	offset uint64
	length uint32
}

type relay struct {
	guard    files.Guard
	patience time.Duration

	logging sync.Mutex
	log     files.Log

	toClient, toServer     sink
	fromClient, fromServer stream
	offered                map[string]bool // extensions, after the handshake

	mu      sync.Mutex
	pending [maxUnderway + maxOwn]pending
	numbers map[uint32]struct{} // of the client, in use
	handles map[string]*handle
	asked   map[*request]struct{} // requests without an answer

	// Numbers of requests to the server that are not in use: ownNumbers for the goroutine that takes
	// requests with paths, so that it needs wait for no other.
	freeNumbers, ownNumbers chan uint32

	queue    chan *request // closed when the client has sent all
	released chan *request // requests whose guard has spoken late
	left     chan struct{} // closed with queue
	waiting  sync.WaitGroup
}

func newRelay(client, server files.Channel) *relay {
	r := &relay{
		toClient: sink{to: client}, toServer: sink{to: server}, fromClient: stream{from: client}, fromServer: stream{from: server},
		offered: map[string]bool{}, numbers: map[uint32]struct{}{}, handles: map[string]*handle{}, asked: map[*request]struct{}{},
		freeNumbers: make(chan uint32, maxUnderway), ownNumbers: make(chan uint32, maxOwn),
		queue: make(chan *request, maxQueued), released: make(chan *request), left: make(chan struct{}),
	}
	for id := range uint32(len(r.pending)) {
		r.numbersOf(id) <- id
	}
	return r
}

// Run relays until both sides are done, one of them breaks the protocol, the guard or the log
// fails, or ctx ends. It closes both sides, and returns when nothing of them is used any more: an
// exit status for the client is to be sent by its Close. Nil means that the client sent all it
// wanted, or the server ended by itself, and every request was answered.
func (s Relay) Run(ctx context.Context, client, server files.Channel) error {
	if s.Guard == nil || s.Log == nil {
		_, _ = client.Close(), server.Close()
		return errNoChecker
	}
	r := newRelay(client, server)
	r.guard, r.log = s.Guard, s.Log
	if r.patience = s.Patience; r.patience <= 0 {
		r.patience = 100 * time.Millisecond
	}
	ctx, end := context.WithCancelCause(ctx)
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(closed)
		_, _ = client.Close(), server.Close()
	})
	err := r.relay(ctx, end, server)
	if stop() {
		_, _ = client.Close(), server.Close()
	} else {
		<-closed
	}
	end(nil)
	if unlogged := r.abandon(); err == nil {
		err = unlogged
	}
	return err
}

// relay runs the goroutines of the session until all have ended.
func (r *relay) relay(ctx context.Context, end context.CancelCauseFunc, server files.Channel) error {
	if err := r.handshake(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return err
	}
	var all sync.WaitGroup
	// The first error ends the others, which see it as the cause.
	run := func(part func() error) {
		all.Go(func() {
			if err := part(); err != nil {
				end(err)
			}
		})
	}
	sent := make(chan struct{})
	run(func() error { return r.readClient(ctx) })
	run(func() error {
		if err := r.perform(ctx); err != nil {
			return err
		}
		close(sent)
		if err := server.CloseWrite(); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("end what is sent to the server: %w", err)
		}
		return nil
	})
	run(func() error {
		if err := r.readServer(ctx); err != nil {
			return err
		}
		select {
		case <-sent:
		default:
			// The server ended first. The cause makes the reading of the client end.
			return errEnded
		}
		return nil
	})
	all.Wait()
	r.waiting.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, errEnded) {
		return err
	}
	return nil
}

var errEnded = errors.New("the server ended")

// handshake agrees on version 3 and on the extensions that both the server and the relay know.
func (r *relay) handshake() error {
	p, err := r.fromClient.next()
	if err != nil {
		return fmt.Errorf("read the client's version: %w", err)
	}
	c := cursor{rest: p[5:]}
	if p[4] != typeInit || c.uint32() < version || c.bad {
		return fmt.Errorf("%w: no INIT of version %d or later", errClient, version)
	}
	extensions, err := r.greet()
	if err != nil {
		return err
	}
	answer := append(begin(nil, typeVersion, version), extensions...)
	if err := r.toClient.write(answer.finish(0)); err != nil {
		return fmt.Errorf("send the version to the client: %w", err)
	}
	return nil
}

// greet agrees with the server, and returns what the client is to be told of its extensions.
func (r *relay) greet() (packet, error) {
	if err := r.toServer.write(begin(nil, typeInit, version).finish(0)); err != nil {
		return nil, fmt.Errorf("send the version to the server: %w", err)
	}
	p, err := r.fromServer.next()
	if err != nil {
		return nil, fmt.Errorf("read the server's version: %w", err)
	}
	c := cursor{rest: p[5:]}
	if v := c.uint32(); p[4] != typeVersion || v != version || c.bad {
		return nil, fmt.Errorf("%w: its VERSION is %d, not %d", errServer, v, version)
	}
	var known packet
	for len(c.rest) > 0 {
		extension, data := string(c.bytes()), string(c.bytes())
		if c.bad {
			return nil, errAnswer
		}
		if v, ok := extensions[extension]; ok && v == data && !r.offered[extension] {
			r.offered[extension] = true
			known = known.text(extension).text(data)
		}
	}
	return known, nil
}

func (r *relay) numbersOf(id uint32) chan uint32 {
	if id < maxUnderway {
		return r.freeNumbers
	}
	return r.ownNumbers
}

// reserve finds a number for a request to the server, and waits for one if there is none.
func (r *relay) reserve(ctx context.Context, numbers chan uint32, p pending) (uint32, error) {
	select {
	case id := <-numbers:
		p.busy = true
		r.mu.Lock()
		r.pending[id] = p
		r.mu.Unlock()
		return id, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// record tells the log.
func (r *relay) record(o files.Outcome) error {
	r.logging.Lock()
	defer r.logging.Unlock()
	if err := r.log.Done(o); err != nil {
		return fmt.Errorf("log an operation: %w", err)
	}
	return nil
}

// forget takes a request off those without an answer.
func (r *relay) forget(q *request) {
	r.mu.Lock()
	delete(r.asked, q)
	r.mu.Unlock()
}

// abandon logs what was still open or without an answer when everything else had ended.
func (r *relay) abandon() error {
	var first error
	record := func(o files.Outcome) {
		if err := r.record(o); first == nil {
			first = err
		}
	}
	for q := range r.asked {
		o := files.Outcome{Operation: q.op, Result: files.Refused, Reason: "the transfer ended first"}
		if q.forwarded {
			o.Result = files.Unknown
		}
		record(o)
	}
	for _, p := range r.pending {
		if h := p.handle; h != nil && (h.closing || h.closed) && !h.logged {
			h.logged = true
			record(h.outcome())
		}
	}
	for _, h := range r.handles {
		if !h.logged {
			record(h.outcome())
		}
	}
	return first
}
