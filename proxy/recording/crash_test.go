package recording_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
	"github.com/cardea-dev/cardea/test/recorder"
)

// writerEnv turns the test binary into a process that records until it is killed.
const writerEnv = "CARDEA_TEST_WRITER"

func TestMain(m *testing.M) {
	if root := os.Getenv(writerEnv); root != "" {
		if err := write(root, os.Getenv(writerEnv+"_SESSION")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// write records in a session, shipping as often as it can, and prints the sequence of each
// event after it was accepted.
func write(root, session string) error {
	ctx := context.Background()
	store := dir.New(filepath.Join(root, "store"))
	spool, err := recording.NewSpool(recording.Config{
		Dir:      filepath.Join(root, "spool"),
		Key:      recorder.Key,
		Limits:   recording.Limits{FirstInterval: time.Millisecond, MaxInterval: time.Millisecond, ShipBytes: 8 << 10},
		StoreFor: func(context.Context, recording.Started) (recording.Store, error) { return store, nil },
	})
	if err != nil {
		return err
	}
	if _, err := spool.Recover(ctx); err != nil {
		return err
	}
	go func() { _ = spool.Run(ctx) }()
	r, err := spool.Open(ctx, started(session))
	if err != nil {
		return err
	}
	for i := 1; ; i++ {
		e := command(i, random(uint64(i), 1+(i*7919)%4000))
		if err := r.Record(e); err != nil {
			return err
		}
		fmt.Println(e.Sequence)
		if i%400 == 0 {
			// Ends are killed too.
			if err := r.Close("ClientClosed"); err != nil {
				return err
			}
			<-make(chan struct{})
		}
	}
}

// TestKilledAtAnyInstruction is G6: every event that was accepted is in the recording,
// whenever the process dies, while it recovers what others left too.
func TestKilledAtAnyInstruction(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	root := t.TempDir()
	accepted := map[string]uint64{}
	for i := range rounds {
		session := fmt.Sprintf("s%d", i)
		accepted[session] = killWriter(t, root, session, time.Duration(rand.IntN(60_000))*time.Microsecond)
	}
	f := newFixture(t, options{dir: filepath.Join(root, "spool"), stores: filepath.Join(root, "store"), limits: quick()})
	f.drain()
	if left := files(t, filepath.Join(root, "spool")); len(left) > 0 {
		t.Errorf("left in the spool: %v", left)
	}
	// Every recording has a place, whenever the process died, and no place is empty.
	if wrong := audit(t, &recording.Audit{}, load(t, f.store), nil); len(wrong) > 0 {
		t.Error(strings.Join(wrong, "\n"))
	}
	for session, last := range accepted {
		if refs, _ := f.store.List(t.Context(), session); last == 0 && len(refs) == 0 {
			continue
		}
		events, _ := f.read(session)
		// The first event and the last are not printed.
		if n := uint64(len(events)); n < last+1 {
			t.Errorf("session %s: %d events, %d were accepted", session, n, last)
		}
		for _, e := range events {
			if e.Command != nil && e.Command.Text != random(e.Command.ID, 1+(int(e.Command.ID)*7919)%4000) {
				t.Errorf("session %s: event %d is not what was recorded", session, e.Sequence)
			}
		}
	}
}

// killWriter runs a writer, kills it some time after its first event and returns the last
// sequence that it said was accepted.
func killWriter(t *testing.T, root, session string, after time.Duration) uint64 {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), writerEnv+"="+root, writerEnv+"_SESSION="+session)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("the writer recorded nothing: %v", err)
	}
	kill := time.AfterFunc(after, func() { _ = cmd.Process.Signal(unix.SIGKILL) })
	defer kill.Stop()
	var last uint64
	for err == nil {
		if n, perr := strconv.ParseUint(strings.TrimSpace(line), 10, 64); perr == nil {
			last = n
		}
		line, err = lines.ReadString('\n')
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
		t.Fatalf("the writer was not killed: %v", err)
	}
	return last
}

// spooled makes a spool directory with one session of a few events and returns the file
// that holds them.
func spooled(t *testing.T) (root, path string) {
	t.Helper()
	root = t.TempDir()
	f := newFixture(t, options{dir: root, idle: true})
	r := f.open("s1")
	f.record(r, 3, "select 1")
	f.stop()
	return root, filepath.Join(root, "v1", files(t, root)[0])
}

func TestTornLastEvent(t *testing.T) {
	_, path := spooled(t)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(content), "\n")
	whole := len(content) - len(lines[len(lines)-2])
	for size := whole; size <= len(content); size++ {
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Join(root, "v1"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "v1", filepath.Base(path)), content[:size], 0o600); err != nil {
			t.Fatal(err)
		}
		f := newFixture(t, options{dir: root, limits: quick()})
		f.drain()
		events, result := f.read("s1")
		want := 4
		if size == len(content) {
			want = 5
		}
		if len(events) != want || !result.Cut || events[want-1].Ended.Reason != recording.ReasonCut {
			t.Fatalf("torn at %d of %d: %d events, %+v", size, len(content), len(events), result)
		}
		if len(f.found) != 1 || !f.found[0].Cut || f.found[0].Started.Grant != "report-agent" || !f.found[0].StartedAt.Equal(events[0].Time) {
			t.Fatalf("recovered %+v", f.found)
		}
		if p := f.progress["s1"]; p[len(p)-1] != fmt.Sprintf("%d Cut", result.Segments) {
			t.Fatalf("progress %v", p)
		}
		f.stop()
	}
}

func TestTornFirstEventLeavesNothing(t *testing.T) {
	root, path := spooled(t)
	for _, size := range []int64{20, 0} {
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
		f := newFixture(t, options{dir: root, limits: quick()})
		f.drain()
		if left := files(t, root); len(left) > 0 || len(f.found) > 0 {
			t.Errorf("left %v, recovered %v", left, f.found)
		}
		f.stop()
	}
}

// TestResumesEverySnapshot takes the state of the disk before and after each attempt to
// store a segment, as a kill at that point would leave it, and recovers each.
func TestResumesEverySnapshot(t *testing.T) {
	root, stores := t.TempDir(), t.TempDir()
	var shots []string
	shoot := func(context.Context, recording.Segment) error {
		to := t.TempDir()
		for from, name := range map[string]string{root: "spool", stores: "store"} {
			if err := os.CopyFS(filepath.Join(to, name), os.DirFS(from)); err != nil {
				return err
			}
		}
		shots = append(shots, to)
		return nil
	}
	f := newFixture(t, options{dir: root, stores: stores, limits: quick(), wrap: func(s recording.Store) recording.Store {
		return &faulty{Store: s, before: shoot, after: shoot}
	}})
	r := f.open("s1")
	f.record(r, 2, random(7, 2<<20)) // split over segments
	f.record(r, 3, "select 1")
	if err := r.Close("ClientClosed"); err != nil {
		t.Fatal(err)
	}
	f.drain()
	f.read("s1")
	f.stop()
	if len(shots) < 10 {
		t.Fatalf("%d snapshots", len(shots))
	}
	for i, shot := range shots {
		f := newFixture(t, options{dir: filepath.Join(shot, "spool"), stores: filepath.Join(shot, "store"), limits: quick()})
		f.drain()
		if events, result := f.read("s1"); len(events) < 2 || (len(events) == 7) == result.Cut {
			t.Errorf("snapshot %d: %d events, %+v", i, len(events), result)
		}
		if left := files(t, filepath.Join(shot, "spool")); len(left) > 0 {
			t.Errorf("snapshot %d: left %v", i, left)
		}
		f.stop()
	}
}

// TestFullDisk fills a small file system. What was accepted reaches the store all the same,
// and the spool works again afterwards.
func TestFullDisk(t *testing.T) {
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=6m,mode=0700"); err != nil {
		t.Skipf("mounting a tmpfs needs root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(root, unix.MNT_DETACH) })
	hold := make(chan struct{})
	f := newFixture(t, options{dir: root, limits: quick(), wrap: func(s recording.Store) recording.Store {
		return &faulty{Store: s, before: func(ctx context.Context, _ recording.Segment) error {
			select {
			case <-hold:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}}
	}})
	r := f.open("s1")
	accepted := 0
	var err error
	for err == nil {
		if err = r.Record(command(accepted, random(uint64(accepted), 20_000))); err == nil {
			accepted++
		}
	}
	if !strings.Contains(err.Error(), unix.ENOSPC.Error()) {
		t.Fatalf("a full disk: %v", err)
	}
	if again := r.Record(command(1, "x")); again == nil {
		t.Fatal("recorded after an error")
	}
	if _, err := f.spool.Open(t.Context(), started("s2")); err == nil {
		t.Error("opened a recording on a full disk")
	}
	_ = r.Close("RecorderFailed")
	close(hold)
	f.drain()
	events, _ := f.read("s1")
	if len(events) != accepted+2 {
		t.Errorf("%d events stored, %d accepted", len(events), accepted+2)
	}
	r = f.open("s3")
	f.record(r, 1, "x")
	if err := r.Close("ClientClosed"); err != nil {
		t.Fatal(err)
	}
	f.drain()
	f.read("s3")
}
