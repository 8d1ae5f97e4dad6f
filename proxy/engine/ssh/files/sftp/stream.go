package sftp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// stream reads packets. A packet is valid until the next one is read.
type stream struct {
	from       io.Reader
	buffer     []byte
	start, end int
}

// firstBuffer holds the usual packets of 32 KiB of data; it grows to the largest that comes.
const firstBuffer = 34 << 10

// next returns a whole packet with its length. io.EOF means that the stream ended between two.
func (s *stream) next() ([]byte, error) {
	if err := s.fill(4); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(s.buffer[s.start:])
	if n == 0 || n > maxPacket {
		return nil, fmt.Errorf("a packet of %d bytes, not 1 to %d", n, maxPacket)
	}
	whole := 4 + int(n)
	if err := s.fill(whole); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	p := s.buffer[s.start : s.start+whole : s.start+whole]
	s.start += whole
	return p, nil
}

// fill reads until n bytes are there.
func (s *stream) fill(n int) error {
	if s.end-s.start >= n {
		return nil
	}
	if s.start == s.end {
		s.start, s.end = 0, 0
	}
	if s.start+n > len(s.buffer) {
		into := s.buffer
		if n > len(into) {
			into = make([]byte, max(firstBuffer, n+n/8))
		}
		s.end = copy(into, s.buffer[s.start:s.end])
		s.buffer, s.start = into, 0
	}
	for idle := 0; s.end-s.start < n; {
		read, err := s.from.Read(s.buffer[s.end:])
		s.end += read
		if s.end-s.start >= n {
			return nil
		}
		if err != nil {
			if errors.Is(err, io.EOF) && s.end > s.start {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		if idle++; read > 0 {
			idle = 0
		} else if idle > 100 {
			return io.ErrNoProgress
		}
	}
	return nil
}

// sink writes packets whole, from any goroutine.
type sink struct {
	mu sync.Mutex
	to io.Writer
}

func (s *sink) write(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.to.Write(p)
	return err
}
