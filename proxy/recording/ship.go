package recording

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/go-logr/logr"
)

const (
	// shippers is how many segments are cut and stored at a time.
	shippers = 4
	// Backoff of a session whose segment could not be stored.
	firstBackoff = 250 * time.Millisecond
	maxBackoff   = 30 * time.Second
	drainBackoff = time.Second
)

// Run ships recordings until ctx ends, and returns when nothing of it runs any more. It
// logs through the logger in ctx.
func (s *Spool) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, shippers)
	for {
		next := s.dispatch(ctx, &wg, slots)
		timer := s.c.Clock.NewTimer(next)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.wake:
		case <-timer.C():
		}
		timer.Stop()
	}
}

// dispatch starts a shipper for each session that is due while there are slots, and returns
// the time until the next one is.
func (s *Spool) dispatch(ctx context.Context, wg *sync.WaitGroup, slots chan struct{}) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.c.Clock.Now()
	wait := s.c.Limits.MaxInterval
	for _, t := range s.tapes {
		if t.busy {
			continue
		}
		if d := t.due.Sub(now); d > 0 {
			wait = min(wait, d)
			continue
		}
		select {
		case slots <- struct{}{}:
		default:
			// The next shipper that is done wakes Run.
			return wait
		}
		t.busy = true
		wg.Go(func() {
			err := t.ship(ctx)
			s.reserve.refill()
			s.shipped(ctx, t, err)
			<-slots
			s.kick()
		})
	}
	return wait
}

// shipped plans what comes next for a tape.
func (s *Spool) shipped(ctx context.Context, t *tape, err error) {
	t.mu.Lock()
	t.hurried = false
	whole := t.progress.Done
	more := t.closed || t.offset-t.progress.Offset >= s.c.Limits.ShipBytes
	resting := t.open == 0 && t.offset > t.progress.Offset
	if err != nil && ctx.Err() == nil && (errors.Is(err, ErrConflict) || errors.Is(err, errLost)) {
		_ = t.fail(err)
	}
	t.mu.Unlock()
	if err == nil && whole {
		s.remove(t)
		return
	}
	s.mu.Lock()
	t.busy, t.regular = false, time.Time{}
	now := s.c.Clock.Now()
	switch {
	case err != nil:
		t.backoff = min(max(2*t.backoff, firstBackoff), maxBackoff)
		if s.draining > 0 {
			t.backoff = min(t.backoff, drainBackoff)
		}
		t.due = now.Add(t.backoff)
	case more:
		t.backoff, t.due = 0, now
	case resting:
		t.backoff, t.due = 0, now.Add(s.c.Limits.FirstInterval)
	default:
		t.backoff = 0
		t.interval = min(2*t.interval, s.c.Limits.MaxInterval)
		t.due = now.Add(t.interval)
	}
	s.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		logr.FromContextOrDiscard(ctx).Error(err, "Recording was not shipped and will be tried again", "session", t.started.Session)
	}
	s.announce()
}

// request makes a tape due now, unless its last attempt failed: then its backoff holds.
// t.mu may be held.
func (s *Spool) request(t *tape) {
	s.mu.Lock()
	if t.backoff == 0 {
		t.due = s.c.Clock.Now()
	}
	s.mu.Unlock()
	s.kick()
}

// rest makes a tape due soon, since its last connection ended. t.mu may be held.
func (s *Spool) rest(t *tape) {
	s.mu.Lock()
	if soon := s.c.Clock.Now().Add(s.c.Limits.FirstInterval); t.backoff == 0 && soon.Before(t.due) {
		t.regular, t.due = t.due, soon
	}
	s.mu.Unlock()
	s.kick()
}

// resume takes back what rest did, unless it was shipped meanwhile. t.mu may be held.
func (s *Spool) resume(t *tape) {
	s.mu.Lock()
	if !t.regular.IsZero() {
		t.due, t.regular = t.regular, time.Time{}
	}
	s.mu.Unlock()
}

// makeRoom makes every tape due.
func (s *Spool) makeRoom() {
	for _, t := range s.all() {
		s.request(t)
	}
}

// hurry cuts a backoff short for a drain.
func (t *tape) hurry() {
	s := t.spool
	s.mu.Lock()
	defer s.mu.Unlock()
	soon := s.c.Clock.Now()
	if t.backoff > 0 {
		soon = soon.Add(drainBackoff)
	}
	if t.due.After(soon) {
		t.due = soon
	}
}

// ship stores what there is of the recording now, segment by segment, and after the last
// one removes it from the spool.
func (t *tape) ship(ctx context.Context) error {
	if t.store == nil {
		store, err := t.spool.c.StoreFor(ctx, t.started)
		if err != nil {
			return fmt.Errorf("find the store: %w", err)
		}
		t.store = store
	}
	end, err := t.extent()
	if err != nil {
		return err
	}
	for first := true; t.pending != nil || t.progress.Offset < end; first = false {
		if !first && t.mayWait(end) {
			break
		}
		if err := t.shipOne(ctx, end); err != nil {
			return err
		}
	}
	return t.reclaim()
}

// mayWait reports whether what is left up to end can wait for its time: behind a segment
// that was full there is mostly one event, which would make a segment of its own.
func (t *tape) mayWait(end int64) bool {
	t.spool.mu.Lock()
	draining := t.spool.draining > 0
	t.spool.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	return !draining && !t.closed && t.pending == nil && end-t.progress.Offset < t.spool.c.Limits.ShipBytes
}

// extent returns up to where the recording can be shipped. A closed one whose last event
// the disk did not take gets it here.
func (t *tape) extent() (int64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed && !t.sealed && t.file != nil {
		if err := t.seal(); err != nil && t.progress.Offset == t.offset {
			return 0, err
		}
	}
	return t.offset, nil
}

func (t *tape) shipOne(ctx context.Context, end int64) error {
	s := t.spool
	if t.pending == nil {
		p, err := t.cut(end)
		if err != nil {
			return err
		}
		if err := t.keep(p); err != nil {
			return err
		}
		t.pending = p
	}
	p := t.pending
	if err := s.chain.settle(s.writeWhole); err != nil {
		return err
	}
	put, cancel := context.WithTimeout(ctx, s.c.Limits.PutTimeout)
	defer cancel()
	if err := t.store.Put(put, p.Segment); err != nil {
		return fmt.Errorf("store segment %d: %w", p.Index, err)
	}
	return t.advance(p)
}

// advance notes that p is stored.
func (t *tape) advance(p *parcel) error {
	s := t.spool
	t.mu.Lock()
	next := progress{Version: 1, Started: t.started, Segments: p.Index + 1, Previous: p.Digest, Offset: p.End, Sequence: p.Next, Split: p.Last == p.Next,
		Begun: t.begun, Time: t.last, Tally: t.progress.Tally.plus(p.Tally), Done: p.Final, Cut: t.progress.Cut}
	if p.Final {
		next.Recorder, next.Number = p.Manifest.Recorder, p.Manifest.Number
	}
	t.mu.Unlock()
	b, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("encode progress: %w", err)
	}
	if err := s.writeWhole(s.path(t.started.Session, "state"), b); err != nil {
		return fmt.Errorf("keep progress: %w", err)
	}
	t.pending = nil
	t.mu.Lock()
	t.progress = next
	stored := t.stored()
	t.mu.Unlock()
	if s.c.Progress != nil {
		s.c.Progress(t.started.Session, stored)
	}
	s.announce()
	return nil
}

// reclaim removes files whose every byte is stored, all of them when the recording is.
func (t *tape) reclaim() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.progress.Offset == t.offset && !t.closed && t.err == nil {
		if err := t.rotate(chunkSlack); err != nil {
			return err
		}
	}
	if t.progress.Done && t.file != nil {
		_ = t.window.close()
		_ = t.file.Close()
		t.file = nil
	}
	for len(t.chunks) > 0 {
		c := t.chunks[0]
		if c.base+c.size > t.progress.Offset || (len(t.chunks) == 1 && !t.progress.Done) {
			break
		}
		if err := os.Remove(c.path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove shipped events: %w", err)
		}
		t.spool.bytes.Add(-c.size)
		t.chunks = t.chunks[1:]
	}
	if !t.progress.Done {
		return nil
	}
	// The state goes last: without it the rest would look like another recording.
	for _, part := range []string{"pending", "state"} {
		if err := os.Remove(t.spool.path(t.started.Session, part)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove shipped recording: %w", err)
		}
	}
	return nil
}

// cut makes the next segment of what lies before end.
func (t *tape) cut(end int64) (*parcel, error) {
	t.mu.Lock()
	split := t.progress.Split
	from, index := t.progress.Offset, t.progress.Segments
	sequence, previous := t.progress.Sequence, t.progress.Previous
	chunks := append([]chunk(nil), t.chunks...)
	t.mu.Unlock()
	if index >= MaxSegments {
		return nil, errors.New("the recording has as many segments as it may")
	}
	raw, err := readRange(chunks, from, min(end, from+t.fitting()))
	if err != nil {
		return nil, err
	}
	raw = wholeLines(raw, from+int64(len(raw)) < end)
	data := compress(raw)
	if len(data) > MaxSegmentData {
		raw = wholeLines(raw[:incompressible], true)
		data = compress(raw)
	}
	t.ratio = float64(len(data)) / float64(len(raw))
	p := &parcel{Begin: from, End: from + int64(len(raw)), Next: sequence + uint64(bytes.Count(raw, []byte{'\n'}))}
	p.Segment = Segment{Session: t.started.Session, Grant: t.started.Grant, Index: index, Previous: previous, First: sequence, Last: p.Next, Data: data}
	if raw[len(raw)-1] == '\n' {
		p.Last--
	}
	p.Tally = tallyOf(raw, split)
	t.mu.Lock()
	if t.whole(p.End) {
		p.Manifest = t.manifest(p)
	}
	t.mu.Unlock()
	return p, nil
}

// fitting is how much of a recording probably fits into a segment, going by the one before: what
// turns out to be too much is compressed twice.
func (t *tape) fitting() int64 {
	if t.ratio*MaxSegmentContent <= MaxSegmentData {
		return MaxSegmentContent
	}
	return max(incompressible, int64(0.97*MaxSegmentData/t.ratio))
}

// wholeLines cuts raw after its last line if more follows it; an event that is larger than
// a segment is split.
func wholeLines(raw []byte, more bool) []byte {
	if i := bytes.LastIndexByte(raw, '\n'); more && i >= 0 {
		return raw[:i+1]
	}
	return raw
}

// errLost says that the spool's own files are gone, and with them what was recorded: the
// session must not go on.
var errLost = errors.New("the spool was removed")

// lost marks an error of a file of the spool that is not there.
func lost(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return errors.Join(errLost, err)
	}
	return err
}

// readRange reads the bytes from begin to end of a recording.
func readRange(chunks []chunk, begin, end int64) ([]byte, error) {
	raw := make([]byte, 0, end-begin)
	for _, c := range chunks {
		from, to := max(begin, c.base), min(end, c.base+c.size)
		if from >= to {
			continue
		}
		f, err := os.Open(c.path)
		if err != nil {
			return nil, fmt.Errorf("read spool: %w", lost(err))
		}
		n := len(raw)
		raw = raw[:n+int(to-from)]
		_, err = io.ReadFull(io.NewSectionReader(f, from-c.base, to-from), raw[n:])
		_ = f.Close()
		if err != nil {
			return nil, fmt.Errorf("read spool: %w", err)
		}
	}
	if int64(len(raw)) != end-begin || len(raw) == 0 {
		return nil, fmt.Errorf("read spool: %w: bytes %d to %d are not all there", errDamaged, begin, end)
	}
	return raw, nil
}
