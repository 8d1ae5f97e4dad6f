// Package recording keeps what happened, so that nobody can alter it later.
//
// Events go to a spool on disk before anything is forwarded, so that they survive the
// death of the process; a shipper cuts the spool into compressed segments, each holding
// the SHA-256 of its predecessor, and puts them into a store. A session whose events
// cannot be recorded ends.
package recording

import "context"

// Recorder records the events of one session. It is safe for concurrent use.
type Recorder interface {
	// Record accepts e: when it returns nil the event survives the death of this process.
	// It sets e.Sequence, and e.Time if that is zero. e is borrowed for the call. An error is
	// final: every later call fails too, and the caller must end the session.
	Record(e *Event) error
	// Close records the last event and hands the rest to the shipper. It does not wait for
	// the store.
	Close(reason string) error
}

// Segment is a part of a recording as it lies in a store.
type Segment struct {
	Session  string
	Index    int    // from 0, without gaps
	Previous string // SHA-256 of the preceding segment in hex, empty for the first
	Digest   string // SHA-256 of this one in hex
	First    uint64 // sequence of the first event
	Last     uint64 // sequence of the last event
	Final    bool   // the recording ends here
	Data     []byte // zstd-compressed JSON lines
}

// Store keeps segments. Implementations are safe for concurrent use.
type Store interface {
	// Put keeps s for good. Putting the same segment again succeeds; another one of the same
	// session and index fails. ErrFull says that the store takes no more.
	Put(ctx context.Context, s Segment) error
}
