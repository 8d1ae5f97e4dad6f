package postgres

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// maxPatience is how much a client may send ahead while one of its commands is held;
// beyond it nothing is read, and that it went away is noticed no more.
const maxPatience = 64 << 10

// patient reads from a client. While a command is held it reads ahead, so that it is
// noticed when the client goes away.
type patient struct {
	conn net.Conn

	ahead []byte
	err   error
}

// Read implements io.Reader. It is not called while a watch runs.
func (p *patient) Read(b []byte) (int, error) {
	if len(p.ahead) > 0 {
		n := copy(b, p.ahead)
		p.ahead = p.ahead[n:]
		return n, nil
	}
	p.ahead = nil
	if p.err != nil {
		return 0, p.err
	}
	return p.conn.Read(b)
}

// watch calls gone when the client goes away, until the returned function is called. still
// reports whether the session goes on.
func (p *patient) watch(gone func(error), still func() bool) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4<<10)
		for len(p.ahead) < maxPatience {
			n, err := p.conn.Read(buf[:min(len(buf), maxPatience-len(p.ahead))])
			p.ahead = append(p.ahead, buf[:n]...)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return
			}
			if err != nil {
				p.err = err
				if errors.Is(err, io.EOF) {
					err = errGone
				}
				gone(err)
				return
			}
		}
	}()
	var once sync.Once
	return func() {
		once.Do(func() {
			_ = p.conn.SetReadDeadline(time.Unix(1, 0))
			<-done
			_ = p.conn.SetReadDeadline(time.Time{})
			if !still() {
				_ = p.conn.SetReadDeadline(time.Unix(1, 0))
			}
		})
	}
}
