package recording

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// ReasonCut is the reason of the last event of a recording whose process died.
const ReasonCut = v1alpha1.ReasonCut

// Recovered is a recording that an earlier process left in the spool.
type Recovered struct {
	Started Started
	// Cut says that the session's end is not in the recording: the process died before.
	Cut bool
	// StartedAt is the time of the first event and LastEvent of the last, Reason why the
	// session ended.
	StartedAt, LastEvent time.Time
	Reason               string
}

// Recover takes over what an earlier process left in the spool: it removes a last event that
// was not accepted, ends each recording that has no end, and leaves the rest to Run. It is
// called once, before Open. The error joins those of recordings that could not be taken
// over; their files stay as they are, and the spool works.
func (s *Spool) Recover(ctx context.Context) ([]Recovered, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("recover spool: %w", err)
	}
	parts := map[string][]string{}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), "~") {
			// Never renamed into place: it says nothing.
			_ = os.Remove(s.dir + "/" + e.Name())
			continue
		}
		if session, part, ok := strings.Cut(e.Name(), "@"); ok {
			parts[session] = append(parts[session], part)
		}
	}
	var found []Recovered
	var failed []error
	for session, names := range parts {
		r, err := s.recoverOne(ctx, session, names)
		switch {
		case err != nil:
			failed = append(failed, fmt.Errorf("recover recording of session %s: %w", session, err))
		case r != nil:
			found = append(found, *r)
		}
	}
	s.chain.adopt(s.finals())
	slices.SortFunc(found, func(a, b Recovered) int { return strings.Compare(a.Started.Session, b.Started.Session) })
	s.kick()
	return found, errors.Join(failed...)
}

// finals are the final segments on their way.
func (s *Spool) finals() []*parcel {
	var kept []*parcel
	for _, t := range s.all() {
		if t.pending != nil && t.pending.Manifest != nil {
			kept = append(kept, t.pending)
		}
	}
	return kept
}

func (s *Spool) recoverOne(ctx context.Context, session string, names []string) (*Recovered, error) {
	t := s.newTape(Started{Session: session}, nil)
	t.closed, t.reason, t.due = true, ReasonCut, s.c.Clock.Now()
	known, err := t.loadProgress()
	if err != nil {
		return nil, err
	}
	if err := t.loadChunks(names); err != nil {
		return nil, err
	}
	tail, err := t.scan()
	if err != nil {
		return nil, err
	}
	if tail.dropped > 0 {
		logr.FromContextOrDiscard(ctx).Info("Dropped the unaccepted end of a recording", "session", session, "bytes", tail.dropped)
	}
	if !known {
		if tail.started == nil {
			// The process died before the first event was accepted: nothing was let through.
			t.discard()
			return nil, nil
		}
		t.started = *tail.started
	}
	if t.started.Session != session {
		return nil, fmt.Errorf("%w: it is of session %q", errDamaged, t.started.Session)
	}
	t.loadPending()
	if err := s.add(t); err != nil {
		return nil, err
	}
	if err := t.reopen(tail); err != nil {
		s.remove(t)
		return nil, err
	}
	if t.progress.Done && s.c.Progress != nil {
		s.c.Progress(session, t.stored())
	}
	return &Recovered{Started: t.started, Cut: t.progress.Cut, StartedAt: t.begun, LastEvent: t.last, Reason: t.reason}, nil
}

// loadProgress reads how far the recording was shipped; false if nothing was.
func (t *tape) loadProgress() (bool, error) {
	b, err := os.ReadFile(t.spool.path(t.started.Session, "state"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	var p progress
	if err := json.Unmarshal(b, &p); err != nil || p.Version != 1 || p.Offset < 0 || p.Segments < 1 || p.Sequence < 1 {
		return false, fmt.Errorf("%w: its state cannot be read", errDamaged)
	}
	t.progress, t.started, t.begun, t.last = p, p.Started, p.Begun, p.Time
	return true, nil
}

// loadChunks finds the files of events, in order, and removes those that were shipped.
func (t *tape) loadChunks(names []string) error {
	for _, name := range names {
		base, err := strconv.ParseInt(name, 10, 64)
		if err != nil {
			continue
		}
		path := t.spool.path(t.started.Session, name)
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		if base+info.Size() < t.progress.Offset {
			if err := os.Remove(path); err != nil {
				return err
			}
			continue
		}
		t.chunks = append(t.chunks, chunk{path: path, base: base, size: info.Size()})
		t.spool.bytes.Add(info.Size())
	}
	slices.SortFunc(t.chunks, func(a, b chunk) int { return int(a.base - b.base) })
	return nil
}

// tail is what scan learned of the events in the spool.
type tail struct {
	started *Started
	ended   *Ended
	dropped int64
}

// scan reads every event that was not shipped and drops what follows the last whole one:
// it was never accepted.
func (t *tape) scan() (tail, error) {
	var found tail
	t.offset, t.sequence = t.progress.Offset, t.progress.Sequence-1
	for i, c := range t.chunks {
		if c.base > t.offset {
			return found, t.dropChunks(i, &found)
		}
		good, err := t.scanChunk(c, &found)
		if err != nil {
			return found, err
		}
		if good < c.size {
			return found, t.dropFrom(i, good, &found)
		}
	}
	return found, nil
}

// scanChunk reads the events of one file and returns the size up to which it is whole.
func (t *tape) scanChunk(c chunk, found *tail) (int64, error) {
	f, err := os.Open(c.path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	good := t.offset - c.base
	r := bufio.NewReaderSize(io.NewSectionReader(f, good, c.size-good), 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return good, nil
		}
		if err != nil {
			return 0, err
		}
		// The first line may be the rest of an event whose beginning was shipped.
		partial := t.progress.Split && t.offset == t.progress.Offset
		if !partial && !t.accept(line, found) {
			return good, nil
		}
		t.sequence++
		t.offset += int64(len(line))
		good += int64(len(line))
	}
}

// accept takes one whole line if it is the next event.
func (t *tape) accept(line []byte, found *tail) bool {
	var e struct {
		Sequence uint64    `json:"seq"`
		Time     time.Time `json:"time"`
		Started  *Started  `json:"started"`
		Ended    *Ended    `json:"ended"`
	}
	if err := json.Unmarshal(line, &e); err != nil || e.Sequence != t.sequence+1 || found.ended != nil {
		return false
	}
	if e.Sequence == 1 {
		found.started, t.begun = e.Started, e.Time
	}
	found.ended, t.last = e.Ended, e.Time
	return true
}

// dropFrom removes what follows the first size bytes of chunk i.
func (t *tape) dropFrom(i int, size int64, found *tail) error {
	if err := t.dropChunks(i+1, found); err != nil {
		return err
	}
	c := &t.chunks[i]
	padding, err := isPadding(*c, size)
	if err != nil {
		return err
	}
	if err := os.Truncate(c.path, size); err != nil {
		return err
	}
	if !padding {
		found.dropped += c.size - size
	}
	t.spool.bytes.Add(size - c.size)
	c.size = size
	return nil
}

// isPadding reports whether a file holds nothing but zeros behind its first size bytes: the
// rest of a window.
func isPadding(c chunk, size int64) (bool, error) {
	f, err := os.Open(c.path)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	r := bufio.NewReader(io.NewSectionReader(f, size, c.size-size))
	for {
		b, err := r.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return true, nil
		case err != nil:
			return false, err
		case b != 0:
			return false, nil
		}
	}
}

// dropChunks removes chunk i and all that follow.
func (t *tape) dropChunks(i int, found *tail) error {
	for _, c := range t.chunks[i:] {
		if err := os.Remove(c.path); err != nil {
			return err
		}
		found.dropped += c.size
		t.spool.bytes.Add(-c.size)
	}
	t.chunks = t.chunks[:i]
	return nil
}

// loadPending reads the segment that was on its way. One that does not follow what is
// stored was stored already.
func (t *tape) loadPending() {
	b, err := os.ReadFile(t.spool.path(t.started.Session, "pending"))
	if err != nil {
		return
	}
	p, err := decodeParcel(b)
	if err != nil || p.Session != t.started.Session || p.Index != t.progress.Segments || p.Begin != t.progress.Offset || p.End > t.offset {
		return
	}
	t.pending = p
}

// reopen ends the recording if it has no end.
func (t *tape) reopen(found tail) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.progress.Done {
		t.sealed = true
		return nil
	}
	if n := len(t.chunks); n == 0 || t.chunks[n-1].base+t.chunks[n-1].size != t.offset {
		if err := t.nextChunk(); err != nil {
			return err
		}
	} else {
		f, err := os.OpenFile(t.chunks[n-1].path, os.O_RDWR|os.O_APPEND, 0o600)
		if err != nil {
			return err
		}
		t.file = f
	}
	if found.ended != nil {
		t.sealed, t.reason, t.progress.Cut = true, found.ended.Reason, found.ended.Recovered
		return nil
	}
	t.progress.Cut = true
	// If the disk does not take the last event now, the shipper tries again.
	_ = t.seal()
	return nil
}
