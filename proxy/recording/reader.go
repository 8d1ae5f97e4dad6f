package recording

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Ref names one stored segment.
type Ref struct {
	Index int
	Name  string // in its store
}

// Source is a store as a reader sees it.
type Source interface {
	// List returns what is stored of a session, in any order.
	List(ctx context.Context, session string) ([]Ref, error)
	// Get returns a segment as it is stored, digest included; nothing of it has been verified.
	// It reads no more than a segment may have.
	Get(ctx context.Context, session string, ref Ref) (Segment, error)
}

// Anchor is what a Session's status says of its recording. It is kept apart from the
// recording, so that altering history takes both.
type Anchor struct {
	// Segments have been stored, the last of which has Digest. Zero says nothing.
	Segments int
	Digest   string
	// Ended says that the recording has an end.
	Ended bool
	// Lost says that the one who recorded was lost: there may be no end, and more than Segments.
	Lost bool
	// Recorder, Number and Store are the place of the recording's manifest; a zero Number says
	// nothing.
	Recorder string
	Number   uint64
	Store    string
	// EndedAt is when the session ended, after which the recording was kept for some time; zero if
	// that is not known.
	EndedAt time.Time
	// Trust is whose signatures count. Without it a signature is held to the certificate that
	// lies beside it alone, which whoever writes the store can make.
	Trust *Trust
}

// Problem is one thing that is wrong with a recording.
type Problem struct {
	// Segment is the index and Name the stored object; the name is empty if it is missing.
	Segment int
	Name    string
	// Event is the sequence of the event concerned; 0 for the segment as a whole.
	Event  uint64
	Reason string
}

// String says what is wrong where.
func (p Problem) String() string {
	s := fmt.Sprintf("segment %d", p.Segment)
	if p.Name != "" {
		s += " (" + p.Name + ")"
	}
	if p.Event != 0 {
		s += fmt.Sprintf(", event %d", p.Event)
	}
	return s + ": " + p.Reason
}

// maxProblems bounds what is reported of one recording.
const maxProblems = 1000

// Result says what a reader found.
type Result struct {
	Segments int
	Events   uint64
	// Digest of the last segment.
	Digest string
	// Complete says that the recording has its last event; Cut that this event was added for
	// a process that died.
	Complete, Cut bool
	// Manifest of the final segment, if its signature is good, and when it was signed.
	Manifest *Manifest
	Signed   time.Time
	// Lost says that there is no end, and need not be: see Anchor.
	Lost bool
	// Expired says, of an Audit, that nothing is there and nothing need be.
	Expired bool
	// Problems are in the order of the recording. None means that the chain is intact.
	Problems []Problem
}

// Intact reports whether nothing is wrong with what there is of the recording.
func (r *Result) Intact() bool { return len(r.Problems) == 0 }

// Entry is one event as it was read.
type Entry struct {
	Event
	// Verified says that no problem was found with the segments the event lies in and with
	// those before.
	Verified bool
}

// Read reads the recording of a session event by event, in order, and verifies it on the
// way. What is wrong with the recording is in the Result; reading goes on behind it as far
// as it can. The error is that of the source, of ctx or of each, which ends reading; each may be
// nil. At most
// a few segments and one event are in memory.
func Read(ctx context.Context, source Source, session string, anchor Anchor, each func(Entry) error) (Result, error) {
	r := &reader{source: source, session: session, anchor: anchor, each: each, previous: new(string), first: 1}
	refs, err := source.List(ctx, session)
	if err != nil {
		return r.result, fmt.Errorf("list the segments of %s: %w", session, err)
	}
	if err := r.all(ctx, refs); err != nil {
		return r.result, err
	}
	r.finish()
	return r.result, nil
}

// all reads segments in the order of their indexes.
func (r *reader) all(ctx context.Context, refs []Ref) error {
	slices.SortFunc(refs, func(a, b Ref) int {
		if a.Index != b.Index {
			return a.Index - b.Index
		}
		return len(a.Name) - len(b.Name)
	})
	for len(refs) > 0 {
		n := 1
		for n < len(refs) && refs[n].Index == refs[0].Index {
			n++
		}
		if err := r.index(ctx, refs[:n]); err != nil {
			return err
		}
		refs = refs[n:]
	}
	return nil
}

type reader struct {
	source  Source
	session string
	anchor  Anchor
	each    func(Entry) error
	result  Result

	next     int     // index expected
	previous *string // digest expected; nil after a gap
	first    uint64  // sequence expected; 0 after a gap
	carry    []byte  // the beginning of an event that goes on in the next segment
	broken   bool    // a problem was found
	last     Segment // without data
	signer   *signer // of the last segment
	tally    Tally
	begun    time.Time // of the first event
	ended    time.Time // of the last one
	reason   string
	started  *Started
	gaps     bool // not all events were read
}

// problem notes what is wrong.
func (r *reader) problem(p Problem) {
	r.broken = true
	if len(r.result.Problems) < maxProblems {
		r.result.Problems = append(r.result.Problems, p)
	}
}

// index reads the segment of one index, of which a store that cannot read what it holds may
// have kept several.
func (r *reader) index(ctx context.Context, refs []Ref) error {
	index := refs[0].Index
	if index < 0 || index >= MaxSegments {
		r.problem(Problem{Segment: index, Name: refs[0].Name, Reason: "no segment has such an index"})
		return nil
	}
	if index > r.next {
		r.missing(r.next, index)
	}
	var chosen *Segment
	var name string
	for _, ref := range refs {
		s, err := r.source.Get(ctx, r.session, ref)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			r.problem(Problem{Segment: index, Name: ref.Name, Reason: "cannot be read: " + err.Error()})
			continue
		}
		switch {
		case chosen == nil:
			chosen, name = &s, ref.Name
		case same(chosen, &s):
			// An attempt whose answer was lost, stored once more.
		case !r.fits(chosen) && r.fits(&s):
			r.problem(Problem{Segment: index, Name: name, Reason: "another segment of the same index, which does not belong to the chain"})
			chosen, name = &s, ref.Name
		default:
			r.problem(Problem{Segment: index, Name: ref.Name, Reason: "another segment of the same index, which does not belong to the chain"})
		}
	}
	r.next = index + 1
	if chosen == nil {
		r.gap()
		return nil
	}
	return r.segment(chosen, index, name)
}

// missing reports the indexes from first to before last.
func (r *reader) missing(first, last int) {
	for i := first; i < last && i < first+maxProblems; i++ {
		r.problem(Problem{Segment: i, Reason: "missing"})
	}
	r.gap()
}

// gap forgets what the next segment would have to continue.
func (r *reader) gap() {
	if len(r.carry) > 0 {
		r.carry = nil
	}
	r.previous, r.first, r.gaps = nil, 0, true
}

func same(a, b *Segment) bool {
	return a.Digest == b.Digest && bytes.Equal(a.Signature, b.Signature) && bytes.Equal(a.Certificate, b.Certificate) && bytes.Equal(a.Data, b.Data)
}

// fits reports whether s continues the chain.
func (r *reader) fits(s *Segment) bool {
	return s.Session == r.session && s.holds() && r.signedBy(s) == nil && (r.previous == nil || s.Previous == *r.previous)
}

// holds reports whether the data of s are what its header says.
func (s *Segment) holds() bool { return s.Bytes == len(s.Data) && s.DataSum == sumOf(s.Data) }

// signedBy says what is wrong with the signature of s.
func (r *reader) signedBy(s *Segment) error {
	if r.signer == nil || r.signer.der != string(s.Certificate) {
		r.signer = newSigner(s.Certificate)
	}
	return r.signer.verify(s, r.anchor.Trust)
}

// segment verifies one segment and reads its events.
func (r *reader) segment(s *Segment, index int, name string) error {
	at := func(format string, args ...any) {
		r.problem(Problem{Segment: index, Name: name, Reason: fmt.Sprintf(format, args...)})
	}
	if s.Session != r.session {
		at("is of session %q", s.Session)
	}
	if s.Index != index {
		at("says that it is segment %d", s.Index)
	}
	if !s.holds() {
		at("was altered: its %d bytes of data have the digest %s, and its header says %d and %s", len(s.Data), sumOf(s.Data), s.Bytes, s.DataSum)
	}
	if err := r.signedBy(s); err != nil {
		at("%v", err)
	} else if s.Session == r.session && s.Manifest != nil {
		r.result.Manifest, r.result.Signed = s.Manifest, s.Signed
	}
	if r.previous != nil && s.Previous != *r.previous {
		at("does not continue the segment before: it follows %s, and that one is %s", orNone(s.Previous), orNone(*r.previous))
	}
	if r.first != 0 && s.First != r.first {
		at("begins with event %d instead of %d", s.First, r.first)
	}
	if r.last.Final {
		at("follows the final segment")
	}
	if r.anchor.Segments == index+1 && r.anchor.Digest != "" && s.Digest != r.anchor.Digest {
		at("was altered: the Session says that its digest is %s, and it is %s", r.anchor.Digest, s.Digest)
	}
	r.previous = &s.Digest
	r.result.Segments++
	r.result.Digest = s.Digest
	r.last = Segment{Index: s.Index, First: s.First, Last: s.Last, Final: s.Final}
	raw, err := s.content()
	if err != nil {
		at("cannot be read: %v", err)
		r.carry, r.first, r.gaps = nil, 0, true
		return nil
	}
	return r.events(raw, s, index, name)
}

func orNone(digest string) string {
	if digest == "" {
		return "nothing"
	}
	return digest
}

// ErrNotFound says that there is no such recording.
var ErrNotFound = errors.New("there is no such recording")
