package sftp_test

import (
	"context"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/proxy/engine/ssh/files"
)

// FuzzClient: whatever a client sends, the server has nothing but what the guard let pass, by the very
// path that it was asked about; and all that the guard was asked about is logged.
func FuzzClient(f *testing.F) {
	f.Add(append(encoded(typeOpen, uint32(1), "/f", uint32(1), uint32(0)), encoded(typeRead, uint32(2), "h", uint64(0), uint32(10))...))
	f.Add(append(encoded(typeOpen, uint32(1), "/f", uint32(0x1a), uint32(4), uint32(0o600)), encoded(typeWrite, uint32(2), "h", uint64(0), "data")...))
	f.Add(append(encoded(typeOpendir, uint32(1), "l"), encoded(typeClose, uint32(2), "h")...))
	f.Add(encoded(typeRename, uint32(1), "a/../b", "/l/n"))
	f.Add(encoded(20, uint32(1), "../n/x", "l/x"))
	f.Add(encoded(typeExtended, uint32(1), "hardlink@openssh.com", "a", "b"))
	f.Add(encoded(typeExtended, uint32(1), "lsetstat@openssh.com", "a", uint32(12), uint32(0), uint32(1), uint32(2)))
	f.Add(encoded(typeExtended, uint32(1), "users-groups-by-id@openssh.com", "\x00\x00\x00\x00", ""))
	f.Add(encoded(99, uint32(1)))
	f.Fuzz(func(t *testing.T, packets []byte) {
		far, conn := script(t, nil, "posix-rename@openssh.com", "1", "statvfs@openssh.com", "2", "hardlink@openssh.com", "1", "lsetstat@openssh.com", "1", "users-groups-by-id@openssh.com", "1")
		s := start(t, func(_ context.Context, op files.Operation) error {
			if strings.Contains(op.Asked, "no") {
				return &files.Refusal{Message: "no"}
			}
			return nil
		}, conn, "")
		go func() { _, _ = io.Copy(io.Discard, s.client) }()
		_, _ = s.client.Write(encoded(typeInit, uint32(3)))
		_, _ = s.client.Write(packets)
		_ = s.client.CloseWrite()
		if err := <-s.ended; err != nil {
			t.Log(err)
		}
		s.ended <- nil
		<-far.done
		passed := map[string]bool{}
		for _, op := range s.judge.asked {
			if op.Path != "" && (!strings.HasPrefix(op.Path, "/") || path.Clean(op.Path) != op.Path || strings.ContainsRune(op.Path, 0)) {
				t.Errorf("judged by %q", op.Path)
			}
			if !strings.Contains(op.Asked, "no") {
				passed[op.Path] = true
			}
		}
		for _, p := range far.asked {
			rest := &fields{t, p[5:]}
			switch p[0] {
			case typeOpen, 9, typeOpendir, 13, 14, 15, typeStat, typeRename:
				if path := rest.text(); !passed[path] {
					t.Errorf("packet type %d with %q", p[0], path)
				}
			}
		}
		if logged := len(s.notes.outcomes); logged < len(s.judge.asked) {
			t.Errorf("%d of %d operations are logged", logged, len(s.judge.asked))
		}
	})
}

// FuzzServer: whatever a server sends, the client has nothing but well-formed answers to what it asked.
func FuzzServer(f *testing.F) {
	f.Add(append(encoded(typeName, uint32(512), uint32(1), "/", "/", uint32(0)), encoded(typeAttrs, uint32(512), uint32(4), uint32(0o100644))...))
	f.Add(encoded(typeName, uint32(512), uint32(1), "/a", "", uint32(0x8000000f), uint64(1), uint32(1), uint32(1), uint32(1), uint32(1), uint32(1), uint32(1), "a", "b"))
	f.Add(encoded(typeStatus, uint32(0), uint32(4), "no", ""))
	f.Add(encoded(201, uint32(0), uint64(1), uint64(2), uint64(3), uint64(4)))
	f.Fuzz(func(t *testing.T, packets []byte) {
		ours, theirs := pair(t)
		s := start(t, nil, ours, "")
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			_, _ = io.Copy(io.Discard, theirs)
		}()
		requests := append(encoded(typeInit, uint32(3)), encoded(typeExtended, uint32(3), "limits@openssh.com")...)
		requests = append(requests, encoded(typeStat, uint32(1), "f")...)
		requests = append(requests, encoded(typeOpen, uint32(2), "g", uint32(1), uint32(0))...)
		_, _ = s.client.Write(requests)
		go func() {
			_, _ = theirs.Write(encoded(typeVersion, uint32(3), "limits@openssh.com", "1"))
			_, _ = theirs.Write(packets)
			_ = theirs.CloseWrite()
		}()
		for first := true; ; first = false {
			p, err := read(s.client)
			if err != nil {
				break
			}
			rest := &fields{t, p[1:]}
			if id := rest.number(); p[0] != typeVersion && (first || id < 1 || id > 3) {
				t.Errorf("packet type %d of number %d", p[0], id)
			}
			switch p[0] {
			case typeStatus:
				rest.number()
			case typeHandle:
				rest.text()
			}
		}
		if err := <-s.ended; err != nil {
			t.Log(err)
		}
		s.ended <- nil
		<-drained
	})
}
