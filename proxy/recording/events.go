package recording

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// events reads the events that end in a segment.
func (r *reader) events(raw []byte, s *Segment, index int, name string) error {
	sequence := r.first
	if sequence == 0 {
		sequence = s.First
		if len(raw) > 0 && raw[0] != '{' {
			// The rest of an event whose beginning is not there.
			_, rest, found := bytes.Cut(raw, []byte{'\n'})
			raw, sequence = rest, sequence+1
			if !found {
				sequence--
			}
		}
	}
	for {
		line, rest, found := bytes.Cut(raw, []byte{'\n'})
		if !found {
			break
		}
		raw = rest
		if len(r.carry) > 0 {
			line = append(r.carry, line...)
			r.carry = nil
		}
		if err := r.event(line, sequence, index, name); err != nil {
			return err
		}
		sequence++
	}
	last := sequence - 1
	if len(raw) > 0 {
		last = sequence
		if len(r.carry)+len(raw) > maxEvent {
			r.problem(Problem{Segment: index, Name: name, Event: sequence, Reason: "is larger than an event may be"})
			r.carry, r.first = nil, 0
			return nil
		}
		r.carry = append(r.carry, raw...)
	}
	if s.Last != last {
		r.problem(Problem{Segment: index, Name: name, Reason: fmt.Sprintf("ends with event %d instead of %d", last, s.Last)})
	}
	r.first = sequence
	return nil
}

// maxEvent bounds one event that a reader puts together, in bytes; a spool's limit may be
// set lower, not higher.
const maxEvent = 64 << 20

// event reads one event.
func (r *reader) event(line []byte, sequence uint64, index int, name string) error {
	at := func(reason string) {
		r.problem(Problem{Segment: index, Name: name, Event: sequence, Reason: reason})
	}
	e, err := r.decode(line)
	if err != nil {
		at(fmt.Sprintf("cannot be read: %v", err))
		r.gaps = true
		return nil
	}
	if e.Sequence != sequence {
		at(fmt.Sprintf("says that it is event %d", e.Sequence))
	}
	r.result.Events++
	r.tally.count(&e)
	r.ended = e.Time
	if e.Started != nil && sequence == 1 {
		r.started, r.begun = e.Started, e.Time
	}
	switch {
	case r.result.Complete:
		at("follows the end of the session")
	case sequence == 1 && e.Started == nil:
		at("is not the beginning of a session")
	case sequence == 1 && e.Started.Session != r.session:
		at(fmt.Sprintf("begins another session, %q", e.Started.Session))
	case sequence == 1 && e.Started.Schema != 1:
		at(fmt.Sprintf("is of schema %d, which this program does not know", e.Started.Schema))
	}
	if sequence == 1 && e.Started != nil && r.signer.err == nil && e.Started.Namespace != r.signer.namespace {
		at(fmt.Sprintf("is of namespace %q, and the recorder that signed it is of %q", e.Started.Namespace, r.signer.namespace))
	}
	if e.Ended != nil {
		r.result.Complete, r.result.Cut, r.reason = true, e.Ended.Recovered, e.Ended.Reason
	}
	if r.each == nil {
		return nil
	}
	return r.each(Entry{Event: e, Verified: !r.broken})
}

// decode reads one event, as far as somebody wants it.
func (r *reader) decode(line []byte) (Event, error) {
	var e Event
	if r.each != nil {
		err := json.Unmarshal(line, &e)
		return e, err
	}
	var o outline
	err := json.Unmarshal(line, &o)
	e.Sequence, e.Time, e.Started, e.Ended = o.Sequence, o.Time, o.Started, o.Ended
	if o.Command != nil {
		e.Command = &Command{Decision: o.Command.Decision}
	}
	if o.Held != nil {
		e.Held = &Held{}
	}
	return e, err
}

// outline is what of an event is verified; the rest is as it was signed.
type outline struct {
	Sequence uint64    `json:"seq"`
	Time     time.Time `json:"time"`
	Started  *Started  `json:"started"`
	Command  *struct {
		Decision string `json:"decision"`
	} `json:"command"`
	Held  *struct{} `json:"held"`
	Ended *Ended    `json:"ended"`
}
