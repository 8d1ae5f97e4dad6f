package sftp_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

// TestOthersPassWhatIsHeld: requests go on while one waits for its guard, which then passes.
func TestOthersPassWhatIsHeld(t *testing.T) {
	approved := make(chan struct{})
	s := start(t, func(ctx context.Context, op files.Operation) error {
		if !strings.HasSuffix(op.Path, "held") {
			return nil
		}
		select {
		case <-approved:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}, nil, "")
	write(t, filepath.Join(s.home, "held"), "x")
	write(t, filepath.Join(s.home, "other"), "y")
	r := raw(t, s.client)
	r.send(typeOpen, 1, "other", uint32(1), uint32(0))
	_, _, rest := r.receive()
	h := rest.text()
	r.send(typeOpen, 2, "held", uint32(2), uint32(0))
	r.send(typeRead, 3, h, uint64(0), uint32(10))
	if typ, id, _ := r.receive(); typ != typeData || id != 3 {
		t.Fatal(typ, id)
	}
	r.send(typeStat, 4, "other")
	if typ, id, _ := r.receive(); typ != typeAttrs || id != 4 {
		t.Fatal(typ, id)
	}
	close(approved)
	if typ, id, _ := r.receive(); typ != typeHandle || id != 2 {
		t.Fatal(typ, id)
	}
	s.end(t)
	for _, o := range s.notes.of(files.Open) {
		if o.Transfer == nil || o.Transfer.Closed {
			t.Errorf("%+v", o)
		}
	}
}

// TestWhatWasHeldIsLookedAtAgain: a path that leads elsewhere by the time of its approval.
func TestWhatWasHeldIsLookedAtAgain(t *testing.T) {
	asked, approved := make(chan struct{}), make(chan struct{})
	s := start(t, func(ctx context.Context, op files.Operation) error {
		if op.Action == files.Open {
			close(asked)
			<-approved
		}
		return nil
	}, nil, "")
	write(t, filepath.Join(s.home, "d/f"), "x")
	write(t, filepath.Join(s.home, "secret/f"), "mine")
	r := raw(t, s.client)
	r.send(typeOpen, 1, "d/f", uint32(0x1a), uint32(0))
	<-asked
	r.send(typeStat, 2, "d")
	r.receive() // the first one is held by now
	if err := errors.Join(os.Rename(filepath.Join(s.home, "d"), filepath.Join(s.home, "e")), os.Symlink("secret", filepath.Join(s.home, "d"))); err != nil {
		t.Fatal(err)
	}
	close(approved)
	if code, message := r.status(1); code != 3 {
		t.Error(code, message)
	}
	s.end(t)
	if got, _ := os.ReadFile(filepath.Join(s.home, "secret/f")); string(got) != "mine" {
		t.Errorf("%q", got)
	}
}

// TestManyAreHeld: more than the relay keeps aside, and a client that leaves.
func TestManyAreHeld(t *testing.T) {
	s := start(t, func(ctx context.Context, op files.Operation) error {
		<-ctx.Done()
		return ctx.Err()
	}, nil, "")
	r := raw(t, s.client)
	for i := range uint32(40) {
		r.send(typeOpen, i, "f", uint32(0x1a), uint32(0))
	}
	s.end(t)
	if got := s.notes.of(files.Open); len(got) != 40 {
		t.Errorf("%d are logged", len(got))
	}
	if left := tree(t, s.home); len(left) > 0 {
		t.Error(left)
	}
}

// TestWhatWasHeldAtTheEnd is neither forwarded nor lost to the log.
func TestWhatWasHeldAtTheEnd(t *testing.T) {
	asked := make(chan struct{})
	s := start(t, func(ctx context.Context, op files.Operation) error {
		close(asked)
		<-ctx.Done()
		return ctx.Err()
	}, nil, "")
	r := raw(t, s.client)
	r.send(typeOpen, 1, "f", uint32(0x1a), uint32(0))
	<-asked
	revoked := errors.New("the grant was revoked")
	s.cancel(revoked)
	if err := <-s.ended; !errors.Is(err, revoked) {
		t.Error(err)
	}
	s.ended <- nil
	if got := s.notes.of(files.Open); len(got) != 1 || got[0].Result != files.Refused {
		t.Errorf("%+v", got)
	}
	if left := tree(t, s.home); len(left) > 0 {
		t.Error(left)
	}
}

// TestWhatCannotBeLoggedEnds: neither what was done nor what was refused is answered.
func TestWhatCannotBeLoggedEnds(t *testing.T) {
	failed := errors.New("the recorder failed")
	for name, packet := range map[string][]byte{
		"done":       encoded(typeStat, uint32(1), "."),
		"refused":    encoded(typeStat, uint32(1), "refused"),
		"failed":     encoded(typeOpen, uint32(1), "nothing", uint32(1), uint32(0)),
		"unresolved": encoded(typeStat, uint32(1), "nothing/f"),
		"unknown":    encoded(99, uint32(1)),
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, func(_ context.Context, op files.Operation) error {
				if strings.HasSuffix(op.Path, "refused") {
					return &files.Refusal{Message: "no"}
				}
				return nil
			}, nil, "")
			s.notes.err = failed
			raw(t, s.client)
			if _, err := s.client.Write(packet); err != nil {
				t.Fatal(err)
			}
			if err := <-s.ended; !errors.Is(err, failed) {
				t.Error(err)
			}
			s.ended <- nil
			if p, err := read(s.client); err == nil {
				t.Errorf("answered by %q", p)
			}
		})
	}
}

// TestGuardsThatFailEnd: an error that is no refusal.
func TestGuardsThatFailEnd(t *testing.T) {
	failed := errors.New("no policy")
	far, conn := script(t, nil)
	s := start(t, func(context.Context, files.Operation) error { return failed }, conn, "")
	r := raw(t, s.client)
	r.send(typeOpen, 1, "/f", uint32(1), uint32(0))
	if err := <-s.ended; !errors.Is(err, failed) {
		t.Error(err)
	}
	s.ended <- nil
	<-far.done
	if got := far.types(); got != "" {
		t.Errorf("%q was forwarded", got)
	}
}

// TestDigests are of what passed in order from the beginning alone.
func TestDigests(t *testing.T) {
	type step struct {
		typ    byte
		offset uint64
		data   string
	}
	for name, tc := range map[string]struct {
		flags           uint32
		steps           []step
		resize          bool
		read, written   int64
		readOK, writeOK bool
	}{
		"in order":      {flags: 3, steps: []step{{typeWrite, 0, "ab"}, {typeWrite, 2, "cd"}, {typeRead, 0, ""}}, read: 4, written: 4, readOK: true, writeOK: true},
		"with a gap":    {flags: 2, steps: []step{{typeWrite, 0, "ab"}, {typeWrite, 5, "cd"}}, written: 4, readOK: true},
		"again":         {flags: 2, steps: []step{{typeWrite, 0, "ab"}, {typeWrite, 0, "cd"}}, written: 4, readOK: true},
		"read again":    {flags: 3, steps: []step{{typeWrite, 0, "ab"}, {typeRead, 0, ""}, {typeRead, 0, ""}}, read: 4, written: 2, writeOK: true},
		"from the end":  {flags: 6, steps: []step{{typeWrite, 0, "ab"}}, written: 2, readOK: true},
		"cut to a size": {flags: 2, steps: []step{{typeWrite, 0, "ab"}}, resize: true, written: 2, readOK: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, nil, nil, "")
			r := raw(t, s.client)
			r.send(typeOpen, 1, "f", tc.flags|8, uint32(0))
			_, _, rest := r.receive()
			h := rest.text()
			for _, step := range tc.steps {
				if step.typ == typeRead {
					r.send(step.typ, 2, h, step.offset, uint32(100))
				} else {
					r.send(step.typ, 2, h, step.offset, step.data)
				}
				r.receive()
			}
			if tc.resize {
				// Without waiting: what comes behind it does not pass it.
				r.send(typeFsetstat, 3, h, uint32(1), uint64(1))
			}
			r.send(typeClose, 4, h)
			if tc.resize {
				if code, message := r.status(3); code != 0 {
					t.Error(message)
				}
			}
			if code, message := r.status(4); code != 0 {
				t.Error(message)
			}
			s.end(t)
			done := s.notes.of(files.Open)[0].Transfer
			if done.Read.Bytes != tc.read || done.Written.Bytes != tc.written || done.Read.Sequential != tc.readOK || done.Written.Sequential != tc.writeOK || !done.Closed {
				t.Errorf("%+v", done)
			}
		})
	}
}
