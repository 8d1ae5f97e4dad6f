package recording

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

const (
	// chunkBytes is when a session's events go on in another file, so that what was shipped
	// can be removed while the session lives.
	chunkBytes = 4 << 20
	// chunkSlack is what may lie shipped in a file before it is replaced.
	chunkSlack = 64 << 10
)

// buffers hold encoded events. Large ones are not kept.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// chunk is one file of a session's events: the bytes from base on of the whole recording.
type chunk struct {
	path string
	base int64
	size int64
}

// tape is the Recorder of one session and what the shipper knows of it.
type tape struct {
	spool   *Spool
	started Started
	// busy says that a shipper has the tape; due and the rest when it wants one.
	// All of them are guarded by spool.mu.
	busy     bool
	due      time.Time
	regular  time.Time // what due was before the last connection ended; zero while one is open
	interval time.Duration
	backoff  time.Duration // zero unless the last attempt failed

	// Owned by the shipper that has the tape.
	store   Store
	pending *parcel
	ratio   float64 // of the last segment's data to its content

	mu       sync.Mutex
	begun    time.Time // of the first event
	progress progress
	file     *os.File // of the last chunk
	window   window   // its end, while the session is busy
	chunks   []chunk
	offset   int64 // end of the last accepted event
	sequence uint64
	last     time.Time // of the last event
	err      error     // final
	closed   bool      // no more events but Ended
	reason   string
	sealed   bool // Ended is in the spool
	hurried  bool // was reported to the shipper ahead of time
	open     int  // connections
}

// Record implements Recorder: the event is in the spool's file when it returns.
func (t *tape) Record(e *Event) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed && t.err == nil {
		return ErrClosed
	}
	return t.record(e)
}

// record accepts e. t.mu is held, and released while it waits for space.
func (t *tape) record(e *Event) error {
	buf, ok := buffers.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
	}
	defer func() {
		if cap(*buf) <= 256<<10 {
			buffers.Put(buf)
		}
	}()
	var deadline <-chan time.Time
	given := e.Time
	for {
		if t.err != nil {
			return t.err
		}
		e.Sequence = t.sequence + 1
		e.Time = t.timeOf(given)
		line, err := appendEvent((*buf)[:0], e)
		*buf = line
		if err != nil {
			return t.fail(err)
		}
		n := int64(len(line))
		if n > t.spool.c.Limits.EventBytes {
			return t.fail(fmt.Errorf("record event: its %d bytes are more than an event may have", n))
		}
		if t.fits(n) {
			if err := t.write(line, e.Time); err != nil {
				return err
			}
			t.follow(e.Kind)
			return nil
		}
		if deadline == nil {
			timer := t.spool.c.Clock.NewTimer(t.spool.c.Limits.Stall)
			defer timer.Stop()
			deadline = timer.C()
		}
		if !t.await(n, deadline) {
			return t.fail(fmt.Errorf("record event: %w", ErrSpoolFull))
		}
	}
}

// timeOf returns the time of the next event: never before the one of the last, whatever the
// clock did.
func (t *tape) timeOf(given time.Time) time.Time {
	now := given
	if now.IsZero() {
		now = t.spool.c.Clock.Now()
	}
	now = now.UTC().Round(0)
	if now.Before(t.last) || now.Year() > 9999 {
		return t.last
	}
	return now
}

// fits takes n bytes from the bounds if they are there.
func (t *tape) fits(n int64) bool {
	l := &t.spool.c.Limits
	if t.offset-t.progress.Offset+n > l.SessionBytes {
		return false
	}
	if t.spool.bytes.Add(n) > l.DirectoryBytes {
		t.spool.bytes.Add(-n)
		return false
	}
	return true
}

// await waits until something was shipped; false means that the wait is over.
func (t *tape) await(n int64, deadline <-chan time.Time) bool {
	if n > t.spool.c.Limits.SessionBytes || n > t.spool.c.Limits.DirectoryBytes {
		return false
	}
	changed := t.spool.changed()
	if t.fits(n) {
		// Space came between the first look and the wait.
		t.spool.bytes.Add(-n)
		return true
	}
	t.mu.Unlock()
	defer t.mu.Lock()
	t.spool.makeRoom()
	select {
	case <-changed:
		return true
	case <-deadline:
		return false
	}
}

// write puts one line, whose bytes were taken from the bounds, into the spool.
func (t *tape) write(line []byte, at time.Time) error {
	if err := t.rotate(chunkBytes); err != nil {
		t.spool.bytes.Add(-int64(len(line)))
		return t.fail(err)
	}
	if err := t.put(line); err != nil {
		t.spool.bytes.Add(-int64(len(line)))
		return t.fail(fmt.Errorf("record event: %w", err))
	}
	t.chunks[len(t.chunks)-1].size += int64(len(line))
	t.offset += int64(len(line))
	t.sequence++
	t.last = at
	if !t.hurried && t.offset-t.progress.Offset >= t.spool.c.Limits.ShipBytes {
		t.hurried = true
		t.spool.request(t)
	}
	return nil
}

// follow has a session without connections shipped soon, so that whoever looks at what just
// happened finds it. A client that connects again at once does not make it more often.
func (t *tape) follow(k EventKind) {
	switch k {
	case KindConnected:
		if t.open++; t.open == 1 {
			t.spool.resume(t)
		}
	case KindDisconnected:
		if t.open--; t.open == 0 {
			t.spool.rest(t)
		}
	default: // no other event begins or ends a connection
	}
}

// fail makes err final.
func (t *tape) fail(err error) error {
	if t.err == nil {
		t.err = fmt.Errorf("recording of session %s: %w", t.started.Session, err)
	}
	return t.err
}

// begin records the first event.
func (t *tape) begin() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := t.nextChunk(); err != nil {
		return err
	}
	e := &Event{Kind: KindStarted, Started: &t.started}
	if err := t.record(e); err != nil {
		return err
	}
	t.begun = e.Time
	return nil
}

// Close implements Recorder.
func (t *tape) Close(reason string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return t.err
	}
	t.closed, t.reason = true, reason
	failed := t.err
	// If the disk does not take the last event now, the shipper tries again.
	err := t.seal()
	t.spool.request(t)
	if failed != nil {
		return failed
	}
	return err
}

// seal writes the last event, after removing what a failed write left. It passes the bounds:
// an end must always be possible. t.mu is held.
func (t *tape) seal() error {
	if t.sealed {
		return nil
	}
	if t.file == nil {
		return ErrClosed
	}
	last := &t.chunks[len(t.chunks)-1]
	if err := t.window.close(); err != nil {
		return err
	}
	if err := t.file.Truncate(last.size); err != nil {
		return fmt.Errorf("end recording: %w", err)
	}
	e := &Event{Sequence: t.sequence + 1, Time: t.timeOf(time.Time{}), Kind: KindEnded, Ended: &Ended{Reason: t.reason, Recovered: t.progress.Cut}}
	line, err := appendEvent(nil, e)
	if err != nil {
		return err
	}
	t.spool.bytes.Add(int64(len(line)))
	if _, err := t.file.Write(line); err != nil {
		t.spool.bytes.Add(-int64(len(line)))
		return fmt.Errorf("end recording: %w", err)
	}
	last.size += int64(len(line))
	t.offset += int64(len(line))
	t.sequence++
	t.last = e.Time
	t.sealed = true
	return nil
}

// rotate goes on in another file if the last has limit bytes or more. t.mu is held.
func (t *tape) rotate(limit int64) error {
	if t.chunks[len(t.chunks)-1].size < limit {
		return nil
	}
	return t.nextChunk()
}

// nextChunk goes on in another file. No file but the last may end in anything but a whole
// event, or what follows would be lost to whoever recovers it.
func (t *tape) nextChunk() error {
	if err := t.settle(); err != nil {
		return err
	}
	path := t.spool.path(t.started.Session, fmt.Sprintf("%015d", t.offset))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("make spool file: %w", err)
	}
	if t.file != nil {
		// Nothing is buffered, and every write was checked.
		_ = t.file.Close()
	}
	t.file = f
	t.chunks = append(t.chunks, chunk{path: path, base: t.offset})
	return nil
}

// path names a file of a session in the spool. No session has an @ in its name.
func (s *Spool) path(session, part string) string {
	return filepath.Join(s.dir, session+"@"+part)
}

// discard removes a recording that has not begun.
func (t *tape) discard() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.abandonLocked()
	for _, c := range t.chunks {
		t.spool.bytes.Add(-c.size)
		_ = os.Remove(c.path)
	}
	t.chunks = nil
}

// abandon closes the recorder and leaves the files to the next spool.
func (t *tape) abandon() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.abandonLocked()
}

func (t *tape) abandonLocked() {
	_ = t.fail(ErrClosed)
	t.closed = true
	_ = t.settle() // a reader drops what follows the last event
	if t.file != nil {
		_ = t.file.Close()
		t.file = nil
	}
}

func (t *tape) unshipped() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.offset - t.progress.Offset
}

func (t *tape) isClosed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.closed
}

// stored says how far the recording was stored. t.mu is held.
func (t *tape) stored() Stored {
	return Stored{Segments: t.progress.Segments, Digest: t.progress.Previous, State: t.state(), Recorder: t.progress.Recorder, Number: t.progress.Number}
}

func (t *tape) state() v1alpha1.RecordingState {
	switch {
	case !t.progress.Done:
		return v1alpha1.RecordingOpen
	case t.progress.Cut:
		return v1alpha1.RecordingCut
	}
	return v1alpha1.RecordingComplete
}

// whole reports whether the recording ends at the given offset. t.mu is held.
func (t *tape) whole(offset int64) bool {
	return t.sealed && offset == t.offset
}
