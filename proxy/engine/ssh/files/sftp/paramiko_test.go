package sftp_test

import (
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

func TestParamiko(t *testing.T) {
	s := start(t, baseline, nil, "")
	write(t, filepath.Join(s.home, ".ssh/rc"), "mine")
	socket := filepath.Join(folder(t), "socket")
	joined := s.listen(t, socket)
	script, err := filepath.Abs("testdata/script.py")
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("/usr/bin/python3", script, socket).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	joined()
	s.end(t)
	left := tree(t, s.home)
	if len(left["d/f"]) != 3<<20 {
		t.Errorf("%d bytes", len(left["d/f"]))
	}
	delete(left, "d/f")
	if diff := cmp.Diff(map[string]string{"d/log": "a l", ".ssh/rc": "mine"}, left); diff != "" {
		t.Error(diff)
	}
	refused := 0
	for _, o := range s.notes.outcomes {
		if o.Result == files.Refused {
			refused++
		}
	}
	if refused != 4 {
		t.Errorf("%d were refused", refused)
	}
}

// listen joins who dials a socket to the relay. The returned function waits for their end.
func (s *session) listen(t *testing.T, socket string) (wait func()) {
	t.Helper()
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket})
	if err != nil {
		t.Fatal(err)
	}
	joined := make(chan struct{})
	go func() {
		defer close(joined)
		c, err := l.AcceptUnix()
		if err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		back := make(chan struct{})
		go func() {
			defer close(back)
			_, _ = io.Copy(c, s.client)
			_ = c.CloseWrite()
		}()
		_, _ = io.Copy(s.client, c)
		_ = s.client.CloseWrite()
		<-back
	}()
	return func() {
		_ = l.Close()
		<-joined
	}
}
