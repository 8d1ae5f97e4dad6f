package postgres

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/cardea-dev/cardea/proxy/masking/detect"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

const (
	// maxAwaits bounds how many answers a client may have outstanding.
	maxAwaits = 2048
	// Transaction states of ReadyForQuery.
	idle          = 'I'
	inTransaction = 'T'
	failed        = 'E'
)

var (
	// errGone is the end of a session whose client left.
	errGone = errors.New("the client is gone")
	// errEnded is the end of what waits in a session that ends; its cause is the context's.
	errEnded = errors.New("the session ended")
)

// relay carries one session. The client's side is a goroutine that owns what is listed
// under it; the target's side is another. What both use is guarded by mu.
type relay struct {
	engine *Engine
	conn   *conn
	s      *session.Session
	up     *upstream
	secret string // of this session: prefixes names that the gate uses upstream

	// Owned by the client's side.
	in             *frames
	patient        *patient
	toTarget       *output
	statements     map[string]*statement
	portals        map[string]*portal
	catalog        *pgsql.Catalog
	questions      questions
	input          copyInput
	plans          plans
	witness        *upstream    // another session of the same login; nil before the first use
	launched       launch       // to be settled
	later          []byte       // its messages
	laterFirst     int          // size of the first of them
	asserting      string       // the portal of assertions
	assertingFirst string       // that of what comes before one
	assertedBy     *inquiry     // of the last assertion
	kinds          []awaitKind  // of the last flight of questions, to be used again
	asking         []byte       // the last flight of questions, to be used again
	paths          uint64       // how often the session's path may have changed
	wrote          bool         // since mayOwnPath found it in no transaction
	tunings        uint64       // how often what texts mean may have changed
	tuned          bool         // in the transaction that may be open
	redefined      bool         // the session itself may have changed definitions
	unrecorded     []*statement // parsed, in toTarget, and in no record yet
	pipeline       int          // messages for the target since the last Sync
	binds          int          // Binds among them
	bound          *portal      // the last one bound
	kept           *portal      // whose Bind was kept
	executes       int          // Executes among them
	mayCopy        bool         // a COPY runs that may read CopyData
	discarding     bool         // the gate refused; everything up to the next Sync is dropped
	epoch          uint64       // counts Syncs
	sqlNames       sqlNames
	command        policy.Command // the last one that was decided on
	hold           hold
	deferral       *deferral       // of the command that was verified last
	wait           context.Context // of a held command: ends with the session, or when the client cancels

	base map[string]string // the meaning of a command that nothing more is known of

	ending   atomic.Bool // the session ends: nobody waits for the client
	held     atomic.Bool // a command is held: a cancel request ends that
	stopWait atomic.Pointer[context.CancelCauseFunc]
	progress chan struct{} // the target's side made progress

	mu       sync.Mutex
	queue    awaits
	out      *output
	status   byte   // of the last ReadyForQuery
	skipping bool   // the target drops everything up to the next Sync
	told     bool   // and the client was told why
	over     uint64 // portals of pipelines before this one are gone
	copyIn   bool   // the target reads CopyData
	torn     bool   // out ends inside a message
	current  *command
	strict   bool // the target has masks now
	// detectors are those of the policy now; nil for none.
	detectors *detect.Set
	farewell  bool          // the target said why it ends
	row       []byte        // the last masked row
	paused    chan struct{} // closed when what is held back may go on; nil if nothing is
	described description   // the last one of a client's statement
	proof     provenance    // the last one
	pinned    pin
}

// sqlNames says which names of statements and portals SQL has made, which the protocol
// could confuse with its own.
type sqlNames struct {
	prepared bool // PREPARE was forwarded
	cursors  bool // DECLARE was forwarded in this transaction
	holdable bool // DECLARE … WITH HOLD was, which outlives it
}

// statement is a prepared statement of the protocol.
type statement struct {
	name       string
	text       []byte
	types      []uint32
	known      *known
	columns    []column // guarded by relay.mu
	parameters []uint32 // types as the target described them; guarded by relay.mu
	epoch      uint64   // of its Parse
	tunings    uint64   // relay.tunings then
	outcome    outcome  // guarded by relay.mu
	recorded   bool     // a command record holds its text
	// outdated says that what the target made of the text may not be what is known of it: the
	// target has to parse it again.
	outdated bool
	// meaning was asked for while the policy wanted approval, in the pipeline meaningEpoch.
	meaning      map[string]string
	meaningEpoch uint64
	estimated    *int64 // rows, of the next Bind
}

// outcome is what became of a Parse or Bind.
type outcome uint8

const (
	unanswered outcome = iota
	made
	notMade
)

// portal is a bound statement.
type portal struct {
	statement  *statement
	parameters []policy.Parameter
	estimated  *int64 // rows
	results    []byte // format codes
	known      *known
	plan       *rowPlan
	columns    []column // guarded by relay.mu
	verified   bool     // under known
	epoch      uint64
	paths      uint64  // relay.paths when it was bound
	tunings    uint64  // the same
	outcome    outcome // guarded by relay.mu
	// bind is its Bind, which lies in the client's buffer until bindAt is not frames.reads, or
	// is kept.
	bind   []byte
	bindAt uint64
}

// push adds an answer that is awaited. The caller writes the message that asks for it
// afterwards.
func (r *relay) push(a await) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.queue.push(a)
	r.overtaken()
}

// overtaken drops what was just pushed if the target has meanwhile failed the pipeline and
// so does not answer it. mu is held.
func (r *relay) overtaken() {
	if !r.skipping {
		return
	}
	if err := r.fall(nil); err != nil && r.out.err == nil {
		r.out.err = err
	}
}

// room waits until another answer may be awaited.
func (r *relay) room(ctx context.Context) error {
	return r.until(ctx, func() bool { return r.queue.len() < maxAwaits })
}

// until waits for a condition that only the target's answers bring about. f is called
// with mu held.
func (r *relay) until(ctx context.Context, f func() bool) error {
	if r.check(f) {
		return nil
	}
	if err := r.send(true); err != nil {
		return err
	}
	for {
		if r.check(f) {
			return nil
		}
		select {
		case <-r.progress:
		case <-ctx.Done():
			return errEnded
		}
	}
}

func (r *relay) check(f func() bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return f()
}

// send writes to the target what was collected for it. If the target is to answer it now,
// a Flush is added where a pipeline is open. Statements that no command's record holds
// are recorded first.
func (r *relay) send(answer bool) error {
	for _, st := range r.unrecorded {
		if st.recorded {
			continue
		}
		st.recorded = true
		err := r.s.Prepared(&policy.Command{Engine: Name, Text: st.text, SQL: st.known.facts, Context: r.meaning(nil)})
		if err != nil {
			return err
		}
	}
	clear(r.unrecorded)
	r.unrecorded = r.unrecorded[:0]
	if answer && r.pipeline > 0 {
		if err := r.toTarget.write([]byte{msgFlush, 0, 0, 0, 4}); err != nil {
			return err
		}
	}
	return r.toTarget.flush()
}

// turn gives the gate's own answers whose turn it is. mu is held.
func (r *relay) turn() error {
	spoke := false
	for h := r.queue.head(); h != nil && h.kind == awaitNothing; h = r.queue.head() {
		var m []byte
		if h.failure != nil {
			m = h.failure.response(msgErrorResponse, "ERROR")
		}
		if h.ready {
			m = appendReady(m, r.status)
		}
		m = append(m, h.raw...)
		r.queue.pop()
		spoke = true
		if err := r.out.write(m); err != nil {
			return err
		}
	}
	if spoke {
		return r.out.flush()
	}
	return nil
}

// notify sends the client a message that may stand between any two others, at once.
func (r *relay) notify(m []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.out.write(m); err != nil {
		return err
	}
	return r.out.flush()
}

// meaning is what gives a command its meaning. extra overrides.
func (r *relay) meaning(extra map[string]string) map[string]string {
	m := map[string]string{"database": r.conn.request.Database}
	for k, v := range extra {
		m[k] = v
	}
	return m
}
