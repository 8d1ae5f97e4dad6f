package sftp_test

import (
	"net"
	"strings"
	"sync"
	"testing"
)

// scripted is a server whose file system is one rule: names with an l are symbolic links to /t, those
// with an n are not there, everything else is. It remembers what it was asked, and says what a test has
// it say instead.
type scripted struct {
	conn *net.UnixConn
	// instead returns answers in place of the usual one; nil for that one.
	instead func(typ byte, id uint32, packet []byte) [][]byte
	done    chan struct{}

	mu    sync.Mutex
	asked [][]byte // packets but those of the handshake
}

// script starts a server with extensions.
func script(t testing.TB, instead func(byte, uint32, []byte) [][]byte, extensions ...any) (*scripted, *net.UnixConn) {
	t.Helper()
	ours, theirs := pair(t)
	s := &scripted{conn: theirs, instead: instead, done: make(chan struct{})}
	go func() {
		defer close(s.done)
		defer func() { _ = theirs.Close() }()
		if _, err := read(theirs); err != nil {
			return
		}
		if _, err := theirs.Write(encoded(typeVersion, append([]any{uint32(3)}, extensions...)...)); err != nil {
			return
		}
		for {
			p, err := read(theirs)
			if err != nil {
				return
			}
			for _, answer := range s.answers(t, p) {
				if _, err := theirs.Write(answer); err != nil {
					return
				}
			}
		}
	}()
	t.Cleanup(func() {
		_ = ours.Close()
		_ = theirs.Close()
		<-s.done
	})
	return s, ours
}

// answers never fails: what it does not understand it calls done.
func (s *scripted) answers(t testing.TB, p []byte) [][]byte {
	s.mu.Lock()
	s.asked = append(s.asked, p)
	s.mu.Unlock()
	rest := &fields{t, p[1:]}
	id := rest.number()
	if s.instead != nil {
		if instead := s.instead(p[0], id, p); instead != nil {
			return instead
		}
	}
	answer := encoded(typeStatus, id, uint32(0), "", "")
	switch p[0] {
	case typeRealpath:
		path := rest.text()
		if !strings.HasPrefix(path, "/") {
			path = "/" + strings.TrimPrefix(path, ".")
		}
		if path != "/" {
			path = strings.TrimRight(path, "/")
		}
		answer = encoded(typeName, id, uint32(1), path, path, uint32(0))
	case typeLstat, typeStat:
		path, mode := rest.text(), uint32(0o100644)
		switch name := path[strings.LastIndex(path, "/")+1:]; {
		case strings.Contains(name, "l"):
			mode = 0o120777
		case strings.Contains(name, "n"):
			return [][]byte{encoded(typeStatus, id, uint32(2), "", "")}
		}
		answer = encoded(typeAttrs, id, uint32(4), mode)
	case typeReadlink:
		answer = encoded(typeName, id, uint32(1), "/t", "/t", uint32(0))
	case typeOpen, typeOpendir:
		answer = encoded(typeHandle, id, "h")
	case typeRead:
		answer = encoded(typeData, id, "data")
	case typeReaddir:
		answer = encoded(typeStatus, id, uint32(1), "", "")
	}
	return [][]byte{answer}
}

// types are the packet types that were asked, but for the relay's own questions.
func (s *scripted) types() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	types := make([]byte, 0, len(s.asked))
	for _, p := range s.asked {
		switch p[0] {
		case typeRealpath, typeLstat, typeReadlink:
		default:
			types = append(types, p[0])
		}
	}
	return string(types)
}
