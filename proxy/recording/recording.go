// Package recording keeps what happened, so that nobody can alter it later.
//
// Events go to a spool on disk before anything is forwarded, so that they survive the
// death of the process; a shipper cuts the spool into compressed segments, each holding
// the SHA-256 of its predecessor and signed by the gate's recorder, and puts them into a
// store. A session whose events cannot be recorded ends.
package recording

import (
	"context"
	"errors"
	"time"
)

// Errors to branch on.
var (
	// ErrFull says that a store takes no more.
	ErrFull = errors.New("the recording store is full")
	// ErrConflict says that a store holds another segment of the same session and index.
	ErrConflict = errors.New("another segment of the same session and index is stored")
	// ErrSpoolFull says that the spool stayed full for longer than a recorder may wait.
	ErrSpoolFull = errors.New("the recording spool is full")
	// ErrClosed says that a recorder or the spool was closed.
	ErrClosed = errors.New("the recording is closed")
	// ErrLocked says that another process uses the spool directory.
	ErrLocked = errors.New("another process uses the spool directory")
)

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

// Segment is a part of a recording as it lies in a store: its data, and what Seal holds.
type Segment struct {
	Session  string
	Grant    string // the session's grant, for labels; neither sealed nor signed
	Index    int    // from 0, without gaps
	Previous string // digest of the preceding segment, empty for the first
	First    uint64 // sequence of the first event of which a byte is in it
	Last     uint64 // sequence of the last event of which a byte is in it
	Data     []byte // JSON lines, encoded as Encoding says
	// Manifest sums the recording up; it is there exactly if the recording ends here.
	Manifest *Manifest

	// What Key.Sign sets. Digests are SHA-256 in lower-case hex.
	Encoding    string    // of Data: EncodingZstd
	Bytes       int       // length of Data
	DataSum     string    // digest of Data
	Signed      time.Time // when it was signed, in UTC
	Final       bool      // Manifest is there
	Digest      string    // of Header, and so of all the above
	Signature   []byte    // of Header: Ed25519 (RFC 8032)
	Certificate []byte    // of the key, in DER
}

// Store keeps segments. Implementations are safe for concurrent use.
type Store interface {
	// Put keeps s for good. Putting the same segment again succeeds. Another one of the same
	// session and index never replaces the first: it fails with ErrConflict, or, where the
	// store cannot read what it holds, is kept beside it for a Reader to find. ErrFull says
	// that the store takes no more. s is borrowed for the call.
	Put(ctx context.Context, s Segment) error
}
