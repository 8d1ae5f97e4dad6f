package peers

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"
)

// Server is a PostgreSQL server without TLS that trusts everybody and then does what its
// script says.
type Server struct {
	Port int

	mu   sync.Mutex
	sent bytes.Buffer // what clients sent after sign-in
}

// Script serves one connection after sign-in and returns when it is to be closed.
type Script func(s *Server, c net.Conn)

// StartServer starts a server. hello is sent instead of the usual answer to the start-up
// message if it is not nil.
func StartServer(t testing.TB, hello []byte, script Script) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Port: l.Addr().(*net.TCPAddr).Port}
	if hello == nil {
		hello = Hello("15.18")
	}
	var wg sync.WaitGroup
	var conns sync.Map
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns.Store(c, true)
			wg.Go(func() {
				defer c.Close()
				var head [4]byte
				if _, err := io.ReadFull(c, head[:]); err != nil {
					return
				}
				body := make([]byte, binary.BigEndian.Uint32(head[:])-4)
				if _, err := io.ReadFull(c, body); err != nil || len(body) < 16 {
					return
				}
				if _, err := c.Write(hello); err != nil {
					return
				}
				script(s, c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		conns.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
		wg.Wait()
	})
	return s
}

// Read reads what the client sends next and keeps it.
func (s *Server) Read(c net.Conn) ([]byte, error) {
	b := make([]byte, 64<<10)
	n, err := c.Read(b)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent.Write(b[:n])
	return b[:n], err
}

// Sent returns all that clients sent after sign-in.
func (s *Server) Sent() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent.String()
}

// Message returns a message of the protocol.
func Message(kind byte, body string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(body)+4))
	return append(b, body...)
}

// Hello is what an ordinary server of a version says to a client that it trusts.
func Hello(version string) []byte {
	b := Message('R', "\x00\x00\x00\x00")
	for _, p := range [][2]string{{"server_version", version}, {"client_encoding", "UTF8"}, {"standard_conforming_strings", "on"}} {
		b = append(b, Message('S', p[0]+"\x00"+p[1]+"\x00")...)
	}
	b = append(b, Message('K', "\x00\x00\x00\x01\x00\x00\x00\x02")...)
	return append(b, Message('Z', "I")...)
}
