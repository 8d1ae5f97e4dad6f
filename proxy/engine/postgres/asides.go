package postgres

import (
	"time"

	"github.com/cardea-dev/cardea/proxy/recording"
)

const (
	// maxAsides is how many notices and notifications of a minute are recorded: a function can
	// raise millions.
	maxAsides = 100
	// asidesFor is how long that bound holds.
	asidesFor = time.Minute
	// maxAside is the most bytes of one that are recorded.
	maxAside = 1 << 10
)

// asides bounds what is recorded of what a target says at any time.
type asides struct {
	since time.Time
	kept  int
	cut   int64
}

// tellAside records a notice or notification, of which the detectors have replaced what they
// found, and passes it on. mu is held.
func (r *relay) tellAside(m []byte) error {
	a := &r.up.asides
	now := r.engine.c.Clock.Now()
	if now.Sub(a.since) >= asidesFor {
		a.since, a.kept = now, 0
	}
	if a.kept++; a.kept > maxAsides {
		a.cut++
		if a.kept > maxAsides+1 {
			return r.out.write(m)
		}
	}
	said, ok := decodeAside(m)
	if !ok {
		return r.targetError("a malformed message")
	}
	// The first one beyond the bound is recorded as that alone.
	if said.Cut, a.cut = a.cut, 0; said.Cut > 0 && a.kept > maxAsides {
		said = &recording.Message{Kind: said.Kind, Cut: said.Cut, Truncated: true}
	}
	if err := r.s.Told(said); err != nil {
		return err
	}
	return r.out.write(m)
}

// decodeAside is a NoticeResponse or NotificationResponse as it is recorded.
func decodeAside(m []byte) (*recording.Message, bool) {
	said := &recording.Message{Kind: "Notice"}
	shorten := func(s string) string {
		if len(s) > maxAside {
			s, said.Truncated = s[:maxAside], true
		}
		return s
	}
	if m[0] == msgNotification {
		b := body{b: m[headSize:]}
		said.Kind = "Notification"
		b.int32() // of the backend that sent it
		said.Channel, said.Text = shorten(string(b.string())), shorten(string(b.string()))
		return said, b.end() == nil
	}
	said.Severity, said.SQLState, said.Text = shorten(errorField(m[headSize:], 'V')), errorField(m[headSize:], 'C'), shorten(errorField(m[headSize:], 'M'))
	return said, true
}

// withoutPayload is a NotificationResponse with an empty payload: on a target with masks
// whoever notified may have put a masked value into it.
func withoutPayload(m []byte) ([]byte, bool) {
	b := body{b: m[headSize:]}
	pid, channel := b.take(4), b.string()
	b.string()
	if b.end() != nil {
		return nil, false
	}
	out := append(beginMessage(nil, msgNotification), pid...)
	return endMessage(append(append(append(out, channel...), 0), 0), 0), true
}
