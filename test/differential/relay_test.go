package differential

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"
)

// relay stands between psql, without TLS, and a server or gate, with TLS, and sees every
// message of both.
type relay struct {
	port, user, password string

	target string
	tls    *tls.Config
	// query handles a Query; plain forwards it.
	query func(w *wire, text []byte) error
}

// message is one message: its kind and all of its bytes.
type message struct {
	kind byte
	all  []byte
}

func (m message) body() []byte { return m.all[5:] }

// newRelay starts a relay before an address whose certificate a file verifies.
func newRelay(t *testing.T, port int, caFile, user, password string, query func(*wire, []byte) error) *relay {
	t.Helper()
	ca, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{port: strconv.Itoa(l.Addr().(*net.TCPAddr).Port), user: user, password: password, target: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		tls: &tls.Config{RootCAs: pool, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS12}, query: query}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				if err := r.serve(c); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
					t.Logf("relay: %v", err)
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return r
}

// wire is one connection in both directions. After the start it works in lock step.
type wire struct {
	client, server net.Conn
	status         byte // of the transaction, as the last ReadyForQuery said
	seen           func(message)
}

func (r *relay) serve(c net.Conn) error {
	hello, err := packet(c)
	if err != nil {
		return err
	}
	raw, err := net.DialTimeout("tcp", r.target, time.Minute)
	if err != nil {
		return err
	}
	defer raw.Close()
	if _, err := raw.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		return err
	}
	var answer [1]byte
	if _, err := io.ReadFull(raw, answer[:]); err != nil || answer[0] != 'S' {
		return fmt.Errorf("no TLS: %q %w", answer, err)
	}
	w := &wire{client: c, server: tls.Client(raw, r.tls)}
	if _, err := w.server.Write(hello); err != nil {
		return err
	}
	if err := w.signIn(); err != nil {
		return err
	}
	for {
		m, err := read(w.client)
		if err != nil {
			return err
		}
		switch m.kind {
		case 'Q':
			err = r.query(w, m.body()[:len(m.body())-1])
		case 'S', 'F': // Sync, and the call of a function
			if _, err = w.server.Write(m.all); err == nil {
				err = w.answers(true)
			}
		default:
			_, err = w.server.Write(m.all)
		}
		if err != nil {
			return err
		}
	}
}

// signIn relays up to the first ReadyForQuery.
func (w *wire) signIn() error {
	for {
		m, err := read(w.server)
		if err != nil {
			return err
		}
		if m.kind == 'R' && binary.BigEndian.Uint32(m.body()) == saslAsked {
			// Without TLS psql does not take what binds to it.
			m = message{'R', append([]byte{'R', 0, 0, 0, 23, 0, 0, 0, saslAsked}, "SCRAM-SHA-256\x00\x00"...)}
		}
		if _, err := w.client.Write(m.all); err != nil {
			return err
		}
		switch {
		case m.kind == 'Z':
			w.status = m.body()[0]
			return nil
		case m.kind == 'R' && asks(m.body()):
			p, err := read(w.client)
			if err != nil {
				return err
			}
			if _, err := w.server.Write(p.all); err != nil {
				return err
			}
		}
	}
}

// saslAsked is AuthenticationSASL.
const saslAsked = 10

// asks reports whether an Authentication message awaits an answer.
func asks(body []byte) bool {
	code := binary.BigEndian.Uint32(body)
	return code != 0 && code != 12
}

// forward sends a Query and relays the answers.
func (w *wire) forward(text []byte) error {
	if _, err := w.server.Write(queryMessage(text)); err != nil {
		return err
	}
	return w.answers(true)
}

// answers relays the server's messages up to ReadyForQuery, and the client's data of a
// COPY. ReadyForQuery itself is relayed if last is set.
func (w *wire) answers(last bool) error {
	for {
		m, err := read(w.server)
		if err != nil {
			return err
		}
		if w.seen != nil {
			w.seen(m)
		}
		if m.kind == 'Z' {
			w.status = m.body()[0]
			if !last {
				return nil
			}
		}
		if _, err := w.client.Write(m.all); err != nil {
			return err
		}
		switch m.kind {
		case 'Z':
			return nil
		case 'G':
			for kind := byte('d'); kind == 'd'; {
				data, err := read(w.client)
				if err != nil {
					return err
				}
				if _, err := w.server.Write(data.all); err != nil {
					return err
				}
				kind = data.kind
			}
		}
	}
}

// ready tells the client that the server is ready.
func (w *wire) ready(status byte) error {
	_, err := w.client.Write([]byte{'Z', 0, 0, 0, 5, status})
	return err
}

// ask runs a query that the client does not see and returns its first value.
func (w *wire) ask(text string) (string, error) {
	if _, err := w.server.Write(queryMessage([]byte(text))); err != nil {
		return "", err
	}
	value := ""
	for {
		m, err := read(w.server)
		if err != nil {
			return "", err
		}
		switch b := m.body(); m.kind {
		case 'D':
			if size := int32(binary.BigEndian.Uint32(b[2:])); size >= 0 { //nolint:gosec // the wire's own conversion
				value = string(b[6 : 6+size])
			}
		case 'E':
			value = "error: " + string(b)
		case 'Z':
			w.status = b[0]
			return value, nil
		}
	}
}

func queryMessage(text []byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{'Q'}, uint32(len(text)+5)) //nolint:gosec // the texts are short
	return append(append(b, text...), 0)
}

// packet reads a start-up packet.
func packet(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint32(head[:]))
	_, err := io.ReadFull(r, b[copy(b, head[:]):])
	return b, err
}

func read(r io.Reader) (message, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return message{}, err
	}
	b := make([]byte, 1+int(binary.BigEndian.Uint32(head[1:])))
	_, err := io.ReadFull(r, b[copy(b, head[:]):])
	return message{b[0], b}, err
}
