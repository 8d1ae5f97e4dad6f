package recording_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
	"github.com/cardea-dev/cardea/test/recorder"
)

// faulty is a store in front of a real one.
type faulty struct {
	recording.Store
	before func(ctx context.Context, s recording.Segment) error // nil passes
	after  func(ctx context.Context, s recording.Segment) error
}

func (f *faulty) Put(ctx context.Context, s recording.Segment) error {
	if f.before != nil {
		if err := f.before(ctx, s); err != nil {
			return err
		}
	}
	if err := f.Store.Put(ctx, s); err != nil {
		return err
	}
	if f.after != nil {
		return f.after(ctx, s)
	}
	return nil
}

type fixture struct {
	t     testing.TB
	spool *recording.Spool
	store *dir.Store
	found []recording.Recovered
	stop  func()

	mu       sync.Mutex
	progress map[string][]string
}

type options struct {
	dir, stores string
	limits      recording.Limits
	clock       clock.Clock
	wrap        func(recording.Store) recording.Store
	idle        bool // nothing is shipped
}

func quick() recording.Limits {
	return recording.Limits{FirstInterval: time.Millisecond, MaxInterval: 10 * time.Millisecond, Stall: 2 * time.Minute}
}

func newFixture(t testing.TB, o options) *fixture {
	t.Helper()
	if o.dir == "" {
		o.dir = t.TempDir()
	}
	if o.stores == "" {
		o.stores = t.TempDir()
	}
	f := &fixture{t: t, store: dir.New(o.stores), progress: map[string][]string{}}
	var store recording.Store = f.store
	if o.wrap != nil {
		store = o.wrap(store)
	}
	var err error
	f.spool, err = recording.NewSpool(recording.Config{Dir: o.dir, Key: recorder.Key, Limits: o.limits, Clock: o.clock,
		StoreFor: func(context.Context, recording.Started) (recording.Store, error) { return store, nil },
		Progress: func(session string, at recording.Stored) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.progress[session] = append(f.progress[session], fmt.Sprintf("%d %s", at.Segments, at.State))
		}})
	if err != nil {
		t.Fatal(err)
	}
	f.found, err = f.spool.Recover(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if o.idle {
			<-ctx.Done()
			return
		}
		if err := f.spool.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	f.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		if err := f.spool.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(f.stop)
	return f
}

func started(session string) recording.Started {
	return recording.Started{Session: session, Namespace: "shop-gate", Grant: "report-agent", Subject: "sa", Client: "10.0.0.1", Proxy: "p"}
}

func (f *fixture) open(session string) recording.Recorder {
	f.t.Helper()
	r, err := f.spool.Open(f.t.Context(), started(session))
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// A session that begins while nothing else is to be shipped is shipped in its time, not
// when whoever ships would have looked again.
func TestSpoolShipsWhatBeginsLater(t *testing.T) {
	slept := make(chan struct{}, 1)
	f := newFixture(t, options{limits: recording.Limits{FirstInterval: 50 * time.Millisecond, MaxInterval: time.Hour}, clock: sleeper{clock.RealClock{}, slept}})
	<-slept
	f.open("s")
	f.await("s", "1 Open")
}

// sleeper tells when somebody begins to wait.
type sleeper struct {
	clock.Clock
	slept chan<- struct{}
}

func (s sleeper) NewTimer(d time.Duration) clock.Timer {
	select {
	case s.slept <- struct{}{}:
	default:
	}
	return s.Clock.NewTimer(d)
}

// A session whose connection ended is looked at: what it did is in the store soon, although
// its session lives on and would be shipped much later.
func TestSpoolShipsWhenConnectionsEnd(t *testing.T) {
	f := newFixture(t, options{limits: recording.Limits{FirstInterval: 50 * time.Millisecond, MaxInterval: time.Hour}})
	r := f.open("s")
	f.await("s", "1 Open")
	for i := range 12 { // the regular interval is minutes now
		connected := &recording.Event{Kind: recording.KindConnected, Connection: uint32(i + 1), Connected: &recording.Connected{Engine: "postgres"}}
		disconnected := &recording.Event{Kind: recording.KindDisconnected, Connection: uint32(i + 1), Disconnected: &recording.Disconnected{Reason: "ClientClosed"}}
		for _, e := range []*recording.Event{connected, command(i+1, "select 1"), disconnected} {
			if err := r.Record(e); err != nil {
				t.Fatal(err)
			}
		}
		f.await("s", fmt.Sprintf("%d Open", i+2))
	}
}

func command(id int, text string) *recording.Event {
	return &recording.Event{Kind: recording.KindCommand, Command: &recording.Command{ID: uint64(id), Text: text, Decision: "Allowed"}}
}

func (f *fixture) record(r recording.Recorder, n int, text string) {
	f.t.Helper()
	for i := range n {
		if err := r.Record(command(i+1, text)); err != nil {
			f.t.Fatal(err)
		}
	}
}

// await waits until progress of a session was reported as want.
func (f *fixture) await(session, want string) {
	f.t.Helper()
	deadline := time.After(time.Minute)
	for {
		f.mu.Lock()
		got := slices.Clone(f.progress[session])
		f.mu.Unlock()
		if slices.Contains(got, want) {
			return
		}
		select {
		case <-deadline:
			f.t.Fatalf("progress of %s is %v, want %q", session, got, want)
		case <-time.After(time.Millisecond):
		}
	}
}

func (f *fixture) drain() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := f.spool.Drain(ctx); err != nil {
		f.t.Fatal(err)
	}
}

// read reads a recording and fails unless it is intact.
func (f *fixture) read(session string) ([]recording.Event, recording.Result) {
	f.t.Helper()
	var events []recording.Event
	result, err := recording.Read(context.Background(), f.store, session, recording.Anchor{Ended: true}, func(e recording.Entry) error {
		events = append(events, e.Event)
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	if !result.Intact() || !result.Complete {
		f.t.Fatalf("recording of %s is not intact: %+v", session, result)
	}
	return events, result
}

func files(t *testing.T, root string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(root, "v1"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if strings.Contains(e.Name(), "@") {
			names = append(names, e.Name())
		}
	}
	return names
}

// random is text that does not compress, the same for the same seed.
func random(seed uint64, n int) string {
	b := make([]byte, n)
	for i := range b {
		seed = seed*6364136223846793005 + 1442695040888963407
		b[i] = 0x21 + byte(seed>>33)%0x5d
	}
	return string(b)
}

func TestRecordShipRead(t *testing.T) {
	cases := map[string]struct {
		text   string
		events int
		limits recording.Limits
	}{
		"small":                                {text: "select 1", events: 3},
		"many segments":                        {text: random(1, 3000), events: 900, limits: recording.Limits{ShipBytes: 64 << 10}},
		"many files":                           {text: strings.Repeat("select ", 1000), events: 3000, limits: recording.Limits{ShipBytes: 1 << 30}},
		"an event larger than a segment":       {text: random(2, 3<<20), events: 2},
		"an event larger, and compressible":    {text: strings.Repeat("x", 3<<20), events: 2},
		"control characters and invalid UTF-8": {text: "\x00\x1b[31m\xff\n", events: 5},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			f := newFixture(t, options{dir: root, limits: c.limits})
			r := f.open("s1")
			f.record(r, c.events, c.text)
			if err := r.Close("ClientClosed"); err != nil {
				t.Fatal(err)
			}
			if err := r.Record(command(1, "late")); !errors.Is(err, recording.ErrClosed) {
				t.Errorf("Record after Close: %v", err)
			}
			f.drain()
			events, result := f.read("s1")
			if len(events) != c.events+2 || result.Cut {
				t.Fatalf("%d events, cut %t", len(events), result.Cut)
			}
			want := strings.ToValidUTF8(c.text, "\uFFFD")
			for i, e := range events {
				if e.Sequence != uint64(i+1) || (e.Command != nil && e.Command.Text != want) {
					t.Fatalf("event %d is not what was recorded", i+1)
				}
			}
			if got := files(t, root); len(got) > 0 {
				t.Errorf("left in the spool: %v", got)
			}
			if n, b := f.spool.Unshipped(); n != 0 || b != 0 {
				t.Errorf("unshipped: %d sessions, %d bytes", n, b)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			p := f.progress["s1"]
			if len(p) != result.Segments || p[len(p)-1] != fmt.Sprintf("%d Complete", result.Segments) {
				t.Errorf("progress %v for %d segments", p, result.Segments)
			}
		})
	}
}

func TestSpoolIsPrivateAndOwned(t *testing.T) {
	root := t.TempDir()
	if err := os.Chmod(root, 0o777); err != nil {
		t.Fatal(err)
	}
	f := newFixture(t, options{dir: root, idle: true})
	f.open("s1")
	if _, err := recording.NewSpool(recording.Config{Dir: root, Key: recorder.Key, StoreFor: func(context.Context, recording.Started) (recording.Store, error) { return f.store, nil }}); !errors.Is(err, recording.ErrLocked) {
		t.Errorf("a second spool on the directory: %v", err)
	}
	err := filepath.Walk(filepath.Join(root, "v1"), func(path string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is readable by others: %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	f := newFixture(t, options{idle: true})
	f.open("s1")
	for name, session := range map[string]string{"twice": "s1", "empty": "", "path": "../x", "at": "a@b", "upper case": "S", "long": strings.Repeat("a", 64)} {
		t.Run(name, func(t *testing.T) {
			if _, err := f.spool.Open(t.Context(), started(session)); err == nil {
				t.Error("opened")
			}
		})
	}
	refusing, err := recording.NewSpool(recording.Config{Dir: t.TempDir(), Key: recorder.Key, StoreFor: func(context.Context, recording.Started) (recording.Store, error) {
		return nil, recording.ErrFull
	}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := refusing.Open(t.Context(), started("s1")); !errors.Is(err, recording.ErrFull) {
		t.Errorf("without a store: %v", err)
	}
}

func TestTimeNeverGoesBack(t *testing.T) {
	fake := clocktesting.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 6, time.FixedZone("x", 3600)))
	root, stores := t.TempDir(), t.TempDir()
	f := newFixture(t, options{dir: root, stores: stores, clock: fake, idle: true})
	r := f.open("s1")
	for _, jump := range []time.Duration{time.Second, -time.Hour, time.Minute, -24 * 365 * time.Hour, 200 * 365 * 24 * time.Hour, 0} {
		fake.SetTime(fake.Now().Add(jump))
		f.record(r, 1, "x")
	}
	e := command(1, "given")
	e.Time = time.Unix(0, 0)
	if err := r.Record(e); err != nil {
		t.Fatal(err)
	}
	f.stop()
	// A process that recovers on a machine whose clock is behind keeps the order too.
	f = newFixture(t, options{dir: root, stores: stores})
	f.drain()
	events, _ := f.read("s1")
	for i := 1; i < len(events); i++ {
		if events[i].Time.Before(events[i-1].Time) || events[i].Time.Location() != time.UTC {
			t.Errorf("event %d at %v follows %v", i+1, events[i].Time, events[i-1].Time)
		}
	}
}

func TestConcurrentRecord(t *testing.T) {
	f := newFixture(t, options{limits: recording.Limits{ShipBytes: 4 << 10, FirstInterval: time.Millisecond, MaxInterval: time.Millisecond}})
	r := f.open("s1")
	var wg sync.WaitGroup
	var seen sync.Map
	for range 8 {
		wg.Go(func() {
			for i := range 200 {
				e := command(i, "select 1")
				if err := r.Record(e); err != nil {
					t.Error(err)
					return
				}
				if _, twice := seen.LoadOrStore(e.Sequence, true); twice {
					t.Errorf("sequence %d twice", e.Sequence)
				}
			}
		})
	}
	wg.Wait()
	if err := r.Close("ClientClosed"); err != nil {
		t.Fatal(err)
	}
	f.drain()
	if events, _ := f.read("s1"); len(events) != 1602 {
		t.Errorf("%d events", len(events))
	}
}

func TestStalledStoreBlocksThenEndsTheSession(t *testing.T) {
	cases := map[string]recording.Limits{
		"session bound":   {SessionBytes: 64 << 10},
		"directory bound": {DirectoryBytes: 64 << 10},
	}
	for name, limits := range cases {
		t.Run(name, func(t *testing.T) {
			var down atomic.Bool
			down.Store(true)
			limits.Stall, limits.FirstInterval, limits.MaxInterval = 100*time.Millisecond, time.Millisecond, time.Millisecond
			f := newFixture(t, options{limits: limits, wrap: func(s recording.Store) recording.Store {
				return &faulty{Store: s, before: func(context.Context, recording.Segment) error {
					if down.Load() {
						return errors.New("connection refused")
					}
					return nil
				}}
			}})
			r := f.open("s1")
			accepted := 0
			var err error
			for err == nil {
				if err = r.Record(command(accepted, random(3, 1000))); err == nil {
					accepted++
				}
			}
			if !errors.Is(err, recording.ErrSpoolFull) {
				t.Fatalf("a full spool: %v", err)
			}
			if accepted < 50 || accepted > 64 {
				t.Errorf("%d events of 1 KiB in a spool of 64 KiB", accepted)
			}
			if again := r.Record(command(1, "x")); again == nil || again.Error() != err.Error() {
				t.Errorf("the error is not final: %v", again)
			}
			if err := r.Close("RecorderFailed"); !errors.Is(err, recording.ErrSpoolFull) {
				t.Errorf("Close: %v", err)
			}
			down.Store(false)
			f.drain()
			if events, _ := f.read("s1"); len(events) != accepted+2 {
				t.Errorf("%d events stored, %d accepted", len(events), accepted+2)
			}
		})
	}
}

func TestSlowStoreHoldsRecordBack(t *testing.T) {
	limits := quick()
	limits.SessionBytes, limits.ShipBytes = 64<<10, 8<<10
	f := newFixture(t, options{limits: limits, wrap: func(s recording.Store) recording.Store {
		return &faulty{Store: s, before: func(ctx context.Context, _ recording.Segment) error {
			select {
			case <-time.After(5 * time.Millisecond):
			case <-ctx.Done():
			}
			return ctx.Err()
		}}
	}})
	r := f.open("s1")
	f.record(r, 500, random(4, 2000))
	if err := r.Close("ClientClosed"); err != nil {
		t.Fatal(err)
	}
	f.drain()
	if events, _ := f.read("s1"); len(events) != 502 {
		t.Errorf("%d events", len(events))
	}
}

func TestFlappingStore(t *testing.T) {
	var n atomic.Int64
	fail := func(context.Context, recording.Segment) error {
		if n.Add(1)%3 != 0 {
			return errors.New("flapping")
		}
		return nil
	}
	for name, wrap := range map[string]func(recording.Store) recording.Store{
		"fails before it stores":             func(s recording.Store) recording.Store { return &faulty{Store: s, before: fail} },
		"stores, and the answer is lost":     func(s recording.Store) recording.Store { return &faulty{Store: s, after: fail} },
		"full for a while, then takes again": func(s recording.Store) recording.Store { return &faulty{Store: s, before: fullTwice()} },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, options{limits: quick(), wrap: wrap})
			r := f.open("s1")
			f.record(r, 10, random(5, 500))
			if err := r.Close("ClientClosed"); err != nil {
				t.Fatal(err)
			}
			f.drain()
			f.read("s1")
		})
	}
}

func fullTwice() func(context.Context, recording.Segment) error {
	var n atomic.Int64
	return func(context.Context, recording.Segment) error {
		if n.Add(1) <= 2 {
			return recording.ErrFull
		}
		return nil
	}
}

func TestConflictEndsTheSession(t *testing.T) {
	f := newFixture(t, options{limits: quick()})
	other := recorder.Sign(recording.Segment{Session: "s1", Index: 0, First: 1, Last: 1, Data: []byte("x")})
	if err := f.store.Put(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	r := f.open("s1")
	deadline := time.After(time.Minute)
	for {
		if err := r.Record(command(1, "x")); errors.Is(err, recording.ErrConflict) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
		select {
		case <-deadline:
			t.Fatal("the session goes on although its recording cannot be stored")
		default:
		}
	}
}

// Whoever removes the spool under a session ends it: its events would be recorded nowhere.
func TestRemovedSpoolEndsTheSession(t *testing.T) {
	root := t.TempDir()
	f := newFixture(t, options{dir: root, limits: quick()})
	r := f.open("s1")
	if err := os.RemoveAll(filepath.Join(root, "v1")); err != nil {
		t.Fatal(err)
	}
	// Slowly enough for the file never to be replaced, which would be noticed anyway.
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for deadline := time.After(time.Minute); ; {
		if err := r.Record(command(1, "x")); err != nil {
			if !strings.Contains(err.Error(), "the spool was removed") {
				t.Error(err)
			}
			return
		}
		select {
		case <-look.C:
		case <-deadline:
			t.Fatal("the session goes on although what it does is recorded nowhere")
		}
	}
}

func TestDrainSaysWhatIsLeft(t *testing.T) {
	f := newFixture(t, options{limits: quick(), wrap: func(s recording.Store) recording.Store {
		return &faulty{Store: s, before: func(context.Context, recording.Segment) error { return errors.New("down") }}
	}})
	r := f.open("s1")
	f.record(r, 1, "x")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := f.spool.Drain(ctx)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 recordings") {
		t.Errorf("Drain: %v", err)
	}
}

// What is left behind a full segment waits for its time, instead of making a small one.
func TestFullSegmentsAreShippedAlone(t *testing.T) {
	f := newFixture(t, options{limits: recording.Limits{ShipBytes: recording.MaxSegmentContent, FirstInterval: time.Hour, MaxInterval: time.Hour, Stall: 2 * time.Minute}})
	r := f.open("s1")
	const full = 5
	line := strings.Repeat("x", 10_000)
	for i := range full {
		f.record(r, recording.MaxSegmentContent/len(line)+1, line)
		f.await("s1", fmt.Sprintf("%d Open", i+1))
	}
	if err := r.Close("done"); err != nil {
		t.Fatal(err)
	}
	f.drain()
	events, result := f.read("s1")
	if result.Segments > full+1 {
		t.Errorf("%d segments for %d that are full: %d events", result.Segments, full, len(events))
	}
}

func TestOpenRecordingIsShippedAndItsFilesReclaimed(t *testing.T) {
	root := t.TempDir()
	f := newFixture(t, options{dir: root, limits: quick()})
	r := f.open("s1")
	for range 5 {
		f.record(r, 100, random(6, 10_000))
		f.drain()
	}
	var size int64
	for _, name := range files(t, root) {
		info, err := os.Stat(filepath.Join(root, "v1", name))
		if errors.Is(err, os.ErrNotExist) {
			continue // reclaimed since
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "pending") {
			size += info.Size()
		}
	}
	if size > 1<<20 {
		t.Errorf("%d bytes of an open recording lie in the spool although all were stored", size)
	}
}
