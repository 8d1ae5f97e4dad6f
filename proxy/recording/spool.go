package recording

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Limits bound a spool. A zero field takes its default.
type Limits struct {
	// DirectoryBytes is what all recordings together may take in the spool: 512 MiB. The disk
	// should hold 8 MiB more.
	DirectoryBytes int64
	// SessionBytes is what one session may have unshipped: 64 MiB.
	SessionBytes int64
	// EventBytes is the size of one event as JSON: 16 MiB.
	EventBytes int64
	// Stall is how long Record waits for space before it fails: 5 s.
	Stall time.Duration
	// ShipBytes is how much a session collects before it is shipped ahead of time: 1 MiB.
	ShipBytes int64
	// FirstInterval and MaxInterval are when an open session is shipped: after 2 s, then each
	// time after twice as long, up to 30 s.
	FirstInterval, MaxInterval time.Duration
	// PutTimeout bounds one attempt to store a segment: 30 s.
	PutTimeout time.Duration
}

func (l Limits) withDefaults() Limits {
	set := func(v *int64, d int64) {
		if *v <= 0 {
			*v = d
		}
	}
	wait := func(v *time.Duration, d time.Duration) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&l.DirectoryBytes, 512<<20)
	set(&l.SessionBytes, 64<<20)
	set(&l.EventBytes, 16<<20)
	l.EventBytes = min(l.EventBytes, maxEvent)
	set(&l.ShipBytes, MaxSegmentContent)
	wait(&l.Stall, 5*time.Second)
	wait(&l.FirstInterval, 2*time.Second)
	wait(&l.MaxInterval, 30*time.Second)
	wait(&l.PutTimeout, 30*time.Second)
	return l
}

// Config is what a Spool is made of.
type Config struct {
	// Dir is the spool directory. It is made if it is missing; what lies in it is in a
	// subdirectory that only this user can enter.
	Dir string
	// Key returns the recorder's key that signs now. It is asked for each segment, since keys
	// are renewed, and must not block. Required.
	Key func() *Key
	// Clock is the time; the system's if nil.
	Clock clock.Clock
	// Limits of the spool.
	Limits Limits
	// StoreFor returns where the recording of a session goes. It is called when a session is
	// opened, where an error refuses the session, and for each session found by Recover, where
	// it is tried again until it succeeds. Required.
	StoreFor func(ctx context.Context, s Started) (Store, error)
	// Progress, if set, is told of each stored segment. Calls for one session come in order.
	// After a crash the last call may come twice. It must not block.
	Progress func(session string, s Stored)
}

// Stored says how far a recording was stored.
type Stored struct {
	Segments int
	Digest   string // of the last segment
	State    v1alpha1.RecordingState
	// Recorder and Number are those of the manifest, once the final segment is stored.
	Recorder string
	Number   uint64
}

// Spool keeps recordings on disk until a store has them. It is safe for concurrent use.
//
// The owner calls Recover once, then Run in a goroutine it waits for, and Open for each
// session. To stop, it ends the sessions, calls Drain, ends Run and calls Close.
type Spool struct {
	c    Config
	dir  string
	lock *os.File

	wake    chan struct{} // holds one token when there may be something to ship
	bytes   atomic.Int64  // what the recordings take on disk
	reserve *reserve
	chain   *chain
	maps    bool // busy sessions map the end of their files

	mu       sync.Mutex
	tapes    map[string]*tape
	freed    chan struct{} // closed and replaced when something was shipped or failed to
	draining int
	closed   bool
}

// NewSpool takes possession of a spool directory. It returns ErrLocked if another process
// has it.
func NewSpool(c Config) (*Spool, error) {
	if c.StoreFor == nil || c.Key == nil {
		return nil, errors.New("open spool: StoreFor or Key is missing")
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	c.Limits = c.Limits.withDefaults()
	dir := filepath.Join(c.Dir, "v1")
	if err := makePrivate(dir); err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("open spool %s: %w", c.Dir, ErrLocked)
		}
		return nil, fmt.Errorf("lock spool %s: %w", c.Dir, err)
	}
	s := &Spool{c: c, dir: dir, lock: lock, wake: make(chan struct{}, 1), tapes: map[string]*tape{}, freed: make(chan struct{}),
		reserve: &reserve{path: filepath.Join(dir, "reserve")}}
	s.maps = canMap(dir)
	if s.chain, err = loadChain(dir); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("open spool: %w", err)
	}
	if err := s.reserve.fill(); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("open spool: %w", err)
	}
	return s, nil
}

// makePrivate makes dir and sees to it that nobody else can read it.
func makePrivate(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	// A set-group-ID parent or a loose umask widens what MkdirAll made.
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("others can read %s: %w", dir, err)
	}
	return nil
}

// Open begins the recording of a session with started as its first event. The schema is
// set here. An error refuses the session.
func (s *Spool) Open(ctx context.Context, started Started) (Recorder, error) {
	started.Schema = 1
	if !ValidSession(started.Session) {
		return nil, fmt.Errorf("open recording: %q is not the name of a session", started.Session)
	}
	store, err := s.c.StoreFor(ctx, started)
	if err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	t := s.newTape(started, store)
	if err := s.add(t); err != nil {
		return nil, fmt.Errorf("open recording: %w", err)
	}
	if err := t.begin(); err != nil {
		t.discard()
		s.remove(t)
		return nil, fmt.Errorf("open recording: %w", err)
	}
	s.kick() // Run may sleep for longer than until this one is due
	return t, nil
}

func (s *Spool) newTape(started Started, store Store) *tape {
	now := s.c.Clock.Now()
	return &tape{spool: s, started: started, store: store, progress: progress{Sequence: 1},
		interval: s.c.Limits.FirstInterval, due: now.Add(s.c.Limits.FirstInterval)}
}

func (s *Spool) add(t *tape) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	if _, ok := s.tapes[t.started.Session]; ok {
		return fmt.Errorf("a recording of session %s is in the spool already", t.started.Session)
	}
	s.tapes[t.started.Session] = t
	return nil
}

func (s *Spool) remove(t *tape) {
	s.mu.Lock()
	delete(s.tapes, t.started.Session)
	s.mu.Unlock()
	s.announce()
}

// Unshipped returns how many sessions have a recording that is not wholly stored, open
// ones included, and how many bytes of events await a store.
func (s *Spool) Unshipped() (sessions int, bytes int64) {
	for _, t := range s.all() {
		bytes += t.unshipped()
		sessions++
	}
	return sessions, bytes
}

func (s *Spool) all() []*tape {
	s.mu.Lock()
	defer s.mu.Unlock()
	tapes := make([]*tape, 0, len(s.tapes))
	for _, t := range s.tapes {
		tapes = append(tapes, t)
	}
	return tapes
}

// Drain ships everything that was recorded and waits until the stores have it, or ctx
// ends. Run must be running. Recordings still open are shipped as far as they go.
func (s *Spool) Drain(ctx context.Context) error {
	s.mu.Lock()
	s.draining++
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.draining--
		s.mu.Unlock()
	}()
	for {
		changed := s.changed()
		sessions, bytes := 0, int64(0)
		for _, t := range s.all() {
			if n := t.unshipped(); n > 0 || t.isClosed() {
				sessions, bytes = sessions+1, bytes+n
				t.hurry()
			}
		}
		if sessions == 0 {
			return nil
		}
		s.kick()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("drain spool: %d recordings with %d bytes were not stored: %w", sessions, bytes, context.Cause(ctx))
		}
	}
}

// Close gives up the directory. Recordings still in it are recovered by the next spool.
// Run must have returned.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	for _, t := range s.all() {
		t.abandon()
	}
	s.announce()
	if err := s.lock.Close(); err != nil {
		return fmt.Errorf("close spool: %w", err)
	}
	return nil
}

// kick makes Run look for something to ship.
func (s *Spool) kick() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// changed returns a channel that is closed at the next announce.
func (s *Spool) changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.freed
}

// announce wakes everyone who waits for space or for the end of shipping.
func (s *Spool) announce() {
	s.mu.Lock()
	close(s.freed)
	s.freed = make(chan struct{})
	s.mu.Unlock()
}
