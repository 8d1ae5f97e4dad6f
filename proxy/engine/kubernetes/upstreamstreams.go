package kubernetes

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/moby/spdystream/spdy"
	corev1 "k8s.io/api/core/v1"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
)

// replyTimeout is how long the API server may take to accept the streams of a command.
const replyTimeout = 30 * time.Second

// Of SPDY/3.1 (draft-mbelshe-httpbis-spdy-00, sections 2.2 and 2.6).
const (
	frameHeader  = 8
	frameControl = 1 << 31
	frameVersion = 3
	frameFin     = 1
	frameReply   = 2
	frameReset   = 3
	framePing    = 6
	frameGoAway  = 7
)

// errFrames ends a connection whose frames cannot be understood.
var errFrames = errors.New("the API server's frames are not understood")

// errEnded is the error of what is sent to a stream that has ended.
var errEnded = errors.New("the stream has ended")

// frame is the head of one.
type frame struct {
	control bool
	kind    uint16 // of a control frame
	stream  uint32 // of a data frame
	fin     bool
	length  uint32 // of what follows; 24 bits
}

func frameOf(head [frameHeader]byte) (frame, error) {
	word, rest := binary.BigEndian.Uint32(head[:4]), binary.BigEndian.Uint32(head[4:])
	f := frame{fin: head[4]&frameFin != 0, length: rest & 0xffffff}
	if word&frameControl == 0 {
		f.stream = word
		return f, nil
	}
	f.control, f.kind = true, uint16(word&0xffff) //nolint:gosec // 16 bits
	if word&^frameControl>>16 != frameVersion {
		return f, errFrames
	}
	return f, nil
}

// upstreamStreams are the streams of one command at the API server, over SPDY. They are read in one
// loop, each part where it lies, and written in one frame a part. The library, which serves
// clients and port-forward, keeps a megabyte for each connection to compress the headers of
// streams to come; here all of them are opened at once, and none comes later.
type upstreamStreams struct {
	conn  net.Conn
	ready chan struct{} // closed once the API server has accepted all streams
	over  chan struct{} // closed when nothing is read any more
	pings chan uint32   // of the API server's, to be answered

	names []string // number i has the identifier 2i+1

	mu    sync.Mutex // orders frames, and guards what follows
	ended map[string]bool
}

// openings are the frames that open the streams of a command, by which these are. They are
// always the same, and there are at most sixteen of them.
var openings sync.Map

// asks are which streams a command has beside the one for errors.
type asks struct{ stdin, stdout, stderr, resize bool }

// names returns the streams in the order in which they are opened, the one for errors first, as
// the protocol wants it.
func (a asks) names() []string {
	names := []string{streamError}
	for _, way := range []struct {
		stream string
		is     bool
	}{{streamStdin, a.stdin}, {streamStdout, a.stdout}, {streamStderr, a.stderr}, {streamResize, a.resize}} {
		if way.is {
			names = append(names, way.stream)
		}
	}
	return names
}

// opening returns the frames that open streams.
func (a asks) opening() ([]byte, error) {
	if b, ok := openings.Load(a); ok {
		return b.([]byte), nil //nolint:forcetypeassert // nothing else is stored
	}
	var b bytes.Buffer
	framer, err := spdy.NewFramer(&b, &b)
	if err != nil {
		return nil, fmt.Errorf("open streams: %w", err)
	}
	for i, name := range a.names() {
		if err := framer.WriteFrame(&spdy.SynStreamFrame{StreamId: spdy.StreamId(2*i + 1), Headers: http.Header{corev1.StreamType: {name}}}); err != nil { //nolint:gosec // at most five
			return nil, fmt.Errorf("open streams: %w", err)
		}
	}
	openings.Store(a, b.Bytes())
	return b.Bytes(), nil
}

// openUpstream opens the streams that were asked for. The caller reads until that ends, then closes.
func openUpstream(conn net.Conn, asked *kubeapi.Stream) (*upstreamStreams, error) {
	a := asks{asked.Stdin, asked.Stdout, asked.Stderr, asked.TTY}
	opening, err := a.opening()
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(opening); err != nil {
		return nil, fmt.Errorf("open streams: %w", err)
	}
	return &upstreamStreams{conn: conn, ready: make(chan struct{}), over: make(chan struct{}), pings: make(chan uint32, 1), names: a.names(), ended: map[string]bool{}}, nil
}

// name returns which stream has an identifier; false if none that was opened.
func (s *upstreamStreams) name(id uint32) (string, bool) {
	if id%2 == 0 || id/2 >= uint32(len(s.names)) { //nolint:gosec // at most five
		return "", false
	}
	return s.names[id/2], true
}

// parts are where what is read lies until it has been passed on.
var parts = sync.Pool{New: func() any { return new([readSize]byte) }}

// read passes on what comes in the streams to be read, in the order in which it comes, until
// all of these have ended. Only pass's own error is returned as it is; a part is pass's until
// it returns. It may be called once.
func (s *upstreamStreams) read(pass func(stream string, part []byte) error) error {
	defer close(s.over)
	late := time.AfterFunc(replyTimeout, func() { _ = s.conn.Close() })
	defer late.Stop()
	from := bufio.NewReader(s.conn)
	p := progress{open: map[string]bool{}, waiting: map[string]bool{}, accepted: func() { late.Stop(); close(s.ready) }}
	for _, name := range s.names {
		p.waiting[name] = true
		if name != streamStdin && name != streamResize {
			p.open[name] = true
		}
	}
	var head [frameHeader]byte
	for len(p.open) > 0 {
		if _, err := io.ReadFull(from, head[:]); err != nil {
			return fmt.Errorf("read frame: %w", err)
		}
		f, err := frameOf(head)
		if err != nil {
			return err
		}
		if f.control {
			err = s.control(f, from, &p)
		} else {
			name, known := s.name(f.stream)
			err = data(from, f.length, known && p.open[name], func(part []byte) error { return pass(name, part) })
			if f.fin {
				delete(p.open, name)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// progress is what is to come yet.
type progress struct {
	open     map[string]bool // to be read
	waiting  map[string]bool // for being accepted
	accepted func()          // is told that all are
}

// control takes a control frame.
func (s *upstreamStreams) control(f frame, from *bufio.Reader, p *progress) error {
	id, err := f.number(from)
	if err != nil {
		return err
	}
	name, known := s.name(id)
	switch {
	case f.kind == frameGoAway:
		return io.EOF
	case f.kind == framePing && id%2 == 0:
		select {
		case s.pings <- id:
		default:
			// One is to be answered already.
		}
	case f.kind == frameReset && known:
		if p.waiting[name] {
			return errNoStreams
		}
		delete(p.open, name)
		s.end(name)
	case f.kind == frameReply && known && p.waiting[name]:
		delete(p.waiting, name)
		if f.fin {
			delete(p.open, name)
		}
		if len(p.waiting) == 0 {
			p.accepted()
		}
	}
	return nil
}

// number reads a control frame, and returns the first number that it holds.
func (f frame) number(from *bufio.Reader) (uint32, error) {
	var b [4]byte
	if f.length < uint32(len(b)) || f.length > maxControlFrame {
		return 0, errFrames
	}
	if _, err := io.ReadFull(from, b[:]); err != nil {
		return 0, fmt.Errorf("read frame: %w", err)
	}
	if _, err := from.Discard(int(f.length) - len(b)); err != nil {
		return 0, fmt.Errorf("read frame: %w", err)
	}
	return binary.BigEndian.Uint32(b[:]) &^ frameControl, nil
}

// data passes on what a frame holds, or leaves it.
func data(from *bufio.Reader, length uint32, wanted bool, pass func(part []byte) error) error {
	if !wanted {
		if _, err := from.Discard(int(length)); err != nil {
			return fmt.Errorf("read frame: %w", err)
		}
		return nil
	}
	buf, ok := parts.Get().(*[readSize]byte)
	if !ok {
		buf = new([readSize]byte)
	}
	defer parts.Put(buf)
	for left := int(length); left > 0; {
		part := buf[:min(left, len(buf))]
		if _, err := io.ReadFull(from, part); err != nil {
			return fmt.Errorf("read frame: %w", err)
		}
		if err := pass(part); err != nil {
			return err
		}
		left -= len(part)
	}
	return nil
}

// end lets nothing more be written to a stream.
func (s *upstreamStreams) end(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended[name] = true
}

// write sends to a stream once it is accepted. It returns errEnded where the API server takes
// no more.
func (s *upstreamStreams) write(name string, p []byte, fin bool) error {
	select {
	case <-s.ready:
	case <-s.over:
		return errEnded
	}
	id := uint32(2*slices.Index(s.names, name) + 1) //nolint:gosec // at most five
	flags := byte(0)
	if fin {
		flags = frameFin
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended[name] {
		return errEnded
	}
	s.ended[name] = fin
	head := binary.BigEndian.AppendUint32(nil, id)
	return s.send(append(head, flags, byte(len(p)>>16), byte(len(p)>>8), byte(len(p))), p)
}

// outgoing are where frames are put together.
var outgoing = sync.Pool{New: func() any { return new([]byte) }}

// send writes a frame in one piece. s.mu is held.
func (s *upstreamStreams) send(head, payload []byte) error {
	buf, ok := outgoing.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
	}
	defer outgoing.Put(buf)
	*buf = append(append((*buf)[:0], head...), payload...)
	if _, err := s.conn.Write(*buf); err != nil {
		return fmt.Errorf("write to the API server: %w", err)
	}
	return nil
}

// keepAlive asks whether the API server is there, and answers when it asks, until nothing is
// read any more. It writes where reading must not wait for that.
func (s *upstreamStreams) keepAlive() {
	ticker := time.NewTicker(pingPeriod)
	defer ticker.Stop()
	for own := uint32(1); ; {
		id := own
		select {
		case <-s.over:
			return
		case id = <-s.pings:
		case <-ticker.C:
			own = (own + 2) &^ frameControl
		}
		s.mu.Lock()
		err := s.send([]byte{0x80, frameVersion, 0, framePing, 0, 0, 0, 4}, binary.BigEndian.AppendUint32(nil, id))
		s.mu.Unlock()
		if err != nil {
			_ = s.conn.Close()
			return
		}
	}
}
