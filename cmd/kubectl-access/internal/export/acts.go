package export

import (
	"time"

	"github.com/cardea-dev/cardea/proxy/recording"
)

// act is one thing that a record says.
type act struct {
	kind       actKind
	at         time.Time
	sequence   uint64
	verified   bool
	connection uint32
	session    *recording.Started
	connected  *recording.Connected // nil if it is not known
	reason     string               // of an end

	command *recording.Command
	held    *recording.Held
	// outcome is the last part of the response; nil for a command that was refused, or whose
	// outcome is not known.
	outcome *recording.Response
	ended   time.Time // of the outcome
}

type actKind uint8

const (
	actConnect actKind = iota + 1
	actDisconnect
	actCommand
	actHeld
)

// engine is the protocol of an act.
func (a *act) engine() string {
	if a.connected == nil {
		return ""
	}
	return a.connected.Engine
}

// maxPending bounds how many commands await their outcome. Beyond it the oldest is told
// without.
const maxPending = 4096

// acts joins events to acts. An act is told when it is over: a command with its outcome.
type acts struct {
	tell        func(*act) error
	session     *recording.Started
	connections map[uint32]*recording.Connected
	pending     map[uint64]*act
	order       []uint64 // of pending; may hold what was told
}

func (j *acts) entry(e recording.Entry) error {
	if j.connections == nil {
		j.connections, j.pending, j.session = map[uint32]*recording.Connected{}, map[uint64]*act{}, &recording.Started{}
	}
	a := &act{at: e.Time, sequence: e.Sequence, verified: e.Verified, connection: e.Connection, connected: j.connections[e.Connection]}
	switch {
	case e.Started != nil:
		j.session = e.Started
	case e.Connected != nil:
		j.connections[e.Connection] = e.Connected
		a.kind, a.connected = actConnect, e.Connected
		return j.told(a)
	case e.Disconnected != nil:
		delete(j.connections, e.Connection)
		a.kind, a.reason = actDisconnect, e.Disconnected.Reason
		return j.told(a)
	case e.Held != nil:
		a.kind, a.held = actHeld, e.Held
		return j.told(a)
	case e.Command != nil:
		return j.command(a, e.Command)
	case e.Response != nil && e.Response.Final:
		return j.response(e)
	}
	return nil
}

func (j *acts) command(a *act, c *recording.Command) error {
	a.kind, a.command = actCommand, c
	if c.Decision != "Allowed" && c.Decision != "Approved" {
		return j.told(a)
	}
	for len(j.pending) >= maxPending && len(j.order) > 0 {
		if err := j.release(j.order[0]); err != nil {
			return err
		}
		j.order = j.order[1:]
	}
	j.pending[c.ID] = a
	j.order = append(j.order, c.ID)
	if len(j.order) > 2*maxPending {
		kept := j.order[:0]
		for _, id := range j.order {
			if j.pending[id] != nil {
				kept = append(kept, id)
			}
		}
		j.order = kept
	}
	return nil
}

func (j *acts) response(e recording.Entry) error {
	a := j.pending[e.Response.ID]
	if a == nil {
		return nil
	}
	a.outcome, a.ended = e.Response, e.Time
	return j.release(e.Response.ID)
}

// release tells a command that awaits its outcome.
func (j *acts) release(id uint64) error {
	a := j.pending[id]
	delete(j.pending, id)
	if a == nil {
		return nil
	}
	return j.told(a)
}

// flush tells the commands whose outcome is not known.
func (j *acts) flush() error {
	for _, id := range j.order {
		if err := j.release(id); err != nil {
			return err
		}
	}
	j.order = nil
	return nil
}

func (j *acts) told(a *act) error {
	a.session = j.session
	return j.tell(a)
}

// Writer makes records of the events of one session, and writes each with emit, which borrows
// it.
type Writer struct{ acts acts }

// OCSF returns a Writer of OCSF events.
func OCSF(emit func(any) error) *Writer {
	return &Writer{acts{tell: func(a *act) error { return emit(ocsf(a)) }}}
}

// ECS returns a Writer of ECS events.
func ECS(emit func(any) error) *Writer {
	return &Writer{acts{tell: func(a *act) error { return emit(ecs(a)) }}}
}

// Entry takes one event, in order.
func (w *Writer) Entry(e recording.Entry) error { return w.acts.entry(e) }

// Close writes what was still waiting for its outcome.
func (w *Writer) Close() error { return w.acts.flush() }
