package recording

import (
	"fmt"
	"strings"
	"time"
)

// Manifest sums up a recording that has ended. It is a part of the header of the final
// segment, and so signed with it: the digest of that segment is the digest of the manifest,
// and says all there is of the recording.
type Manifest struct {
	Namespace, Store  string // Store is empty for the default store
	Grant, GrantUID   string
	Target, TargetUID string
	// Begun and Ended are the times of the first and the last event.
	Begun, Ended time.Time
	Reason       string // why the session ended
	// Recovered says that the process that carried the session died, and the one that signs
	// here closed the recording.
	Recovered bool
	Tally

	// Recorder is who closed the recording: a spool, by a name of 32 hex digits that it gives
	// itself when it is made. Number counts what it has closed for Store, from 1, and
	// Preceding is the digest of the final segment of the recording before; empty for the
	// first.
	Recorder  string
	Number    uint64
	Preceding string
}

// Tally counts events. The zero value has counted none.
type Tally struct {
	Events   uint64 `json:"events"`
	Commands uint64 `json:"commands"` // events of KindCommand
	Denied   uint64 `json:"denied"`   // commands among them that were refused
	Held     uint64 `json:"held"`     // events of KindHeld
}

// plus returns the sum.
func (t Tally) plus(o Tally) Tally {
	return Tally{t.Events + o.Events, t.Commands + o.Commands, t.Denied + o.Denied, t.Held + o.Held}
}

// decisionDenied is Command.Decision of a command that was refused.
const decisionDenied = "Denied"

// count counts one event.
func (t *Tally) count(e *Event) {
	t.Events++
	switch {
	case e.Command != nil:
		t.Commands++
		if e.Command.Decision == decisionDenied {
			t.Denied++
		}
	case e.Held != nil:
		t.Held++
	}
}

// maxToken bounds a text in a manifest, in bytes: the names and UIDs of objects have at most
// 253.
const maxToken = 253

// token makes s fit for a line of a header: printable ASCII of at most maxToken bytes.
// Names, UIDs and reasons are that already.
func token(s string) string {
	if len(s) > maxToken {
		s = s[:maxToken]
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
}

// append writes the lines of m.
func (m *Manifest) append(dst []byte) []byte {
	return fmt.Appendf(dst, "namespace: %s\nstore: %s\ngrant: %s\ngrant-uid: %s\ntarget: %s\ntarget-uid: %s\nbegun: %s\nended: %s\nreason: %s\nrecovered: %t\n"+
		"events: %d\ncommands: %d\ndenied: %d\nheld: %d\nrecorder: %s\nnumber: %d\npreceding: %s\n",
		token(m.Namespace), token(m.Store), token(m.Grant), token(m.GrantUID), token(m.Target), token(m.TargetUID),
		m.Begun.UTC().Format(time.RFC3339Nano), m.Ended.UTC().Format(time.RFC3339Nano), token(m.Reason), m.Recovered,
		m.Events, m.Commands, m.Denied, m.Held, m.Recorder, m.Number, m.Preceding)
}

// readManifest is the inverse of append.
func readManifest(h *headerReader) *Manifest {
	m := &Manifest{
		Namespace: h.field("namespace"), Store: h.field("store"),
		Grant: h.field("grant"), GrantUID: h.field("grant-uid"), Target: h.field("target"), TargetUID: h.field("target-uid"),
		Begun: h.time("begun"), Ended: h.time("ended"), Reason: h.field("reason"), Recovered: h.flag("recovered"),
		Tally: Tally{Events: h.number("events", maxCount), Commands: h.number("commands", maxCount), Denied: h.number("denied", maxCount), Held: h.number("held", maxCount)},
	}
	m.Recorder, m.Number, m.Preceding = h.field("recorder"), h.number("number", maxCount), h.field("preceding")
	if len(m.Recorder) != recorderLength || m.Number == 0 || !isDigest(m.Preceding) && (m.Preceding != "" || m.Number != 1) {
		h.fail("its manifest has no place in a chain of recordings")
	}
	return m
}
