package kubernetes

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
)

// Bounds of a SPDY frame's payload. The library holds some hundred frames of a connection.
const (
	maxDataFrame    = 128 << 10
	maxControlFrame = 64 << 10
)

// spdyClient is a client that speaks v4 of the remote command protocol over SPDY.
type spdyClient struct {
	conn    httpstream.Connection
	closer  io.Closer
	streams map[string]httpstream.Stream
	left    chan struct{}
	runs    sync.WaitGroup
	late    lateness
}

// errNoStreams is the error of a client that does not open what it asked for.
var errNoStreams = errors.New("the client did not open its streams")

// acceptSPDY upgrades a connection and waits for the streams that were asked for.
func acceptSPDY(ctx context.Context, w http.ResponseWriter, r *http.Request, asked *kubeapi.Stream, l Limits) (terminal, error) {
	wanted := map[string]bool{streamError: true}
	for stream, is := range map[string]bool{streamStdin: asked.Stdin, streamStdout: asked.Stdout, streamStderr: asked.Stderr, streamResize: asked.TTY} {
		if is {
			wanted[stream] = true
		}
	}
	w.Header().Set(httpstream.HeaderProtocolVersion, remotecommand.StreamProtocolV4Name)
	type opened struct {
		stream httpstream.Stream
		ready  <-chan struct{}
	}
	ways := make(chan opened, len(wanted))
	var mu sync.Mutex
	seen := map[string]bool{}
	hijack := &guarded{ResponseWriter: w}
	conn := spdy.NewResponseUpgrader().UpgradeResponse(hijack, r, func(s httpstream.Stream, ready <-chan struct{}) error {
		mu.Lock()
		defer mu.Unlock()
		kind := s.Headers().Get(corev1.StreamType)
		if !wanted[kind] || seen[kind] {
			return errNoStreams
		}
		seen[kind] = true
		ways <- opened{s, ready}
		return nil
	})
	if conn == nil {
		return nil, errNoStreams
	}
	c := &spdyClient{conn: conn, closer: hijack.conn, streams: map[string]httpstream.Stream{}, left: make(chan struct{})}
	late := time.NewTimer(remotecommand.DefaultStreamCreationTimeout)
	defer late.Stop()
	for len(c.streams) < len(wanted) {
		select {
		case o := <-ways:
			select {
			case <-o.ready:
			case <-conn.CloseChan():
			}
			c.streams[o.stream.Headers().Get(corev1.StreamType)] = o.stream
			continue
		case <-late.C:
		case <-ctx.Done():
		case <-conn.CloseChan():
		}
		_ = hijack.conn.Close()
		_ = conn.Close()
		return nil, errNoStreams
	}
	for _, stream := range []string{streamStdout, streamStderr, streamError} {
		// Nothing is to come there, and what does must not pile up.
		if s := c.streams[stream]; s != nil {
			c.runs.Go(func() { _, _ = io.Copy(io.Discard, s) })
		}
	}
	c.runs.Go(func() {
		<-conn.CloseChan()
		close(c.left)
	})
	return c, nil
}

func (c *spdyClient) stdin() io.Reader {
	if s := c.streams[streamStdin]; s != nil {
		return &whole{s, c.conn}
	}
	return nil
}

func (c *spdyClient) resize() io.Reader {
	if s := c.streams[streamResize]; s != nil {
		return &whole{s, c.conn}
	}
	return nil
}

func (c *spdyClient) gone() <-chan struct{} { return c.left }

func (c *spdyClient) write(stream string, p []byte) error {
	for len(p) > 0 {
		n := min(len(p), maxDataFrame)
		if _, err := c.streams[stream].Write(p[:n]); err != nil {
			return fmt.Errorf("write to client: %w", err)
		}
		p = p[n:]
	}
	return nil
}

func (c *spdyClient) hasten(at time.Time) { c.late.set(at, c.closer) }

func (c *spdyClient) close(ctx context.Context) {
	defer c.late.stop()
	// The client leaves when its streams have ended.
	for _, stream := range []string{streamStdout, streamStderr, streamError} {
		if s := c.streams[stream]; s != nil {
			_ = s.Close()
		}
	}
	for _, stream := range []string{streamStdin, streamResize} {
		if s := c.streams[stream]; s != nil {
			_ = s.Reset()
		}
	}
	select {
	case <-c.left:
	case <-ctx.Done():
	}
	_ = c.closer.Close()
	_ = c.conn.Close()
	c.runs.Wait()
}

// whole reads a stream, whose end is one only if the connection has not ended.
type whole struct {
	httpstream.Stream
	conn httpstream.Connection
}

// Read implements io.Reader.
func (w *whole) Read(p []byte) (int, error) {
	n, err := w.Stream.Read(p)
	if errors.Is(err, io.EOF) {
		select {
		case <-w.conn.CloseChan():
			return n, errClientGone
		default:
		}
	}
	return n, err
}

// guarded hands out a connection whose frames are bounded.
type guarded struct {
	http.ResponseWriter
	conn net.Conn
}

// Hijack implements http.Hijacker.
func (g *guarded) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(g.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("take the connection: %w", err)
	}
	g.conn = conn
	bounded := &boundedFrames{Conn: conn, from: rw.Reader}
	return bounded, bufio.NewReadWriter(bufio.NewReader(bounded), rw.Writer), nil
}

// errFrame ends a connection with a frame that is too large.
var errFrame = errors.New("a SPDY frame is too large")

// boundedFrames is a connection that fails at a frame over the bounds, before any of its
// payload is read.
type boundedFrames struct {
	net.Conn
	from io.Reader

	header [8]byte // SPDY/3.1, sections 2.2.1 and 2.2.2
	read   int
	left   uint32
}

// Read implements io.Reader.
func (b *boundedFrames) Read(p []byte) (int, error) {
	n, err := b.from.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		if b.left > 0 {
			skip := min(uint64(b.left), uint64(len(rest)))
			rest, b.left = rest[skip:], b.left-uint32(skip) //nolint:gosec // skip is at most left
			continue
		}
		c := copy(b.header[b.read:], rest)
		rest, b.read = rest[c:], b.read+c
		if b.read < len(b.header) {
			break
		}
		b.read, b.left = 0, binary.BigEndian.Uint32(b.header[4:])&0xffffff
		bound := uint32(maxDataFrame)
		if b.header[0]&0x80 != 0 {
			bound = maxControlFrame
		}
		if b.left > bound {
			return 0, errFrame
		}
	}
	return n, err
}
