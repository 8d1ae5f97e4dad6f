package recording

import (
	"fmt"
)

// finish verifies the end of the recording.
func (r *reader) finish() {
	r.summary()
	if r.next < r.anchor.Segments {
		r.missing(r.next, r.anchor.Segments)
		return
	}
	at := func(reason string) {
		r.problem(Problem{Segment: max(r.next-1, 0), Reason: reason})
	}
	r.result.Lost = r.anchor.Lost && !r.last.Final
	switch {
	case r.next == 0:
		if r.anchor.Ended {
			at("missing")
		}
	case len(r.carry) > 0:
		if r.last.Final {
			at("is final and ends within an event")
		} else if r.anchor.Ended {
			at("the recording ends within an event: its end is missing")
		}
	case r.last.Final != r.result.Complete && !r.broken:
		at("the last segment and the last event do not agree on whether the recording ends here")
	case r.anchor.Ended && !r.last.Final:
		at("the session has ended, and the final segment is missing")
	}
}

// summary holds the manifest to the recording.
func (r *reader) summary() {
	m, a := r.result.Manifest, r.anchor
	if m == nil {
		return
	}
	at := func(format string, args ...any) {
		r.problem(Problem{Segment: r.last.Index, Reason: "its manifest " + fmt.Sprintf(format, args...)})
	}
	if a.Number != 0 && (a.Number != m.Number || a.Recorder != m.Recorder) {
		at("is number %d of recorder %s, and the Session says number %d of %s", m.Number, m.Recorder, a.Number, a.Recorder)
	}
	if r.gaps || r.started == nil || !r.result.Complete {
		return
	}
	if m.Tally != r.tally {
		at("counts %+v, and there are %+v", m.Tally, r.tally)
	}
	if !m.Begun.Equal(r.begun) || !m.Ended.Equal(r.ended) {
		at("says from %s to %s, and the events are from %s to %s", m.Begun, m.Ended, r.begun, r.ended)
	}
	if m.Reason != token(r.reason) || m.Recovered != r.result.Cut {
		at("says that the session ended with %q, recovered %t, and the last event %q, %t", m.Reason, m.Recovered, r.reason, r.result.Cut)
	}
	s := r.started
	for _, c := range [][3]string{{"namespace", m.Namespace, s.Namespace}, {"store", m.Store, s.Store}, {"grant", m.Grant, s.Grant}, {"grant-uid", m.GrantUID, s.GrantUID},
		{"target", m.Target, s.Target}, {"target-uid", m.TargetUID, s.TargetUID}} {
		if c[1] != token(c[2]) {
			at("says %s %q, and the first event %q", c[0], c[1], c[2])
		}
	}
}
