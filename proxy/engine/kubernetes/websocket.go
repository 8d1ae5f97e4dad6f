package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
	"k8s.io/apimachinery/pkg/util/remotecommand"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
)

const (
	// pingPeriod is how often a client is asked whether it is there: one that has gone is
	// noticed when that cannot be sent.
	pingPeriod = 5 * time.Second
	// messageSize is the most of a message that is read at a time.
	messageSize = 32 << 10
	// readAhead is how much is read of a WebSocket before it is asked for; what is larger is read to
	// where it is wanted.
	readAhead = 4 << 10
)

// messages are buffers for writing, each held while a message is.
var messages sync.Pool

// channels are the numbers of the streams in messages.
var channels = map[string]byte{
	streamStdin: remotecommand.StreamStdIn, streamStdout: remotecommand.StreamStdOut, streamStderr: remotecommand.StreamStdErr,
	streamError: remotecommand.StreamErr, streamResize: remotecommand.StreamResize,
}

// webSocket is a client that speaks v4 or v5 of the channel protocol. Messages are read part
// by part, however long they are and whatever frames they come in.
type webSocket struct {
	conn *websocket.Conn
	v5   bool
	in   map[byte]*channel
	left chan struct{} // closed when nothing can be read any more
	done chan struct{} // closed to end the pings
	runs sync.WaitGroup
	late lateness

	mu sync.Mutex // orders writes
}

// channel is one way from the client.
type channel struct {
	r *io.PipeReader
	w *io.PipeWriter
}

func acceptWebSocket(w http.ResponseWriter, r *http.Request, protocol string, asked *kubeapi.Stream, l Limits) (terminal, error) {
	upgrader := websocket.Upgrader{
		HandshakeTimeout: l.Farewell, Subprotocols: []string{protocol}, ReadBufferSize: readAhead, WriteBufferSize: messageSize + 1, WriteBufferPool: &messages,
		Error: func(w http.ResponseWriter, _ *http.Request, status int, _ error) {
			http.Error(w, http.StatusText(status), status)
		},
	}
	conn, err := upgrader.Upgrade(w, r, nil)
	if err != nil {
		return nil, fmt.Errorf("upgrade to WebSocket: %w", err)
	}
	s := &webSocket{conn: conn, v5: protocol == remotecommand.StreamProtocolV5Name, in: map[byte]*channel{}, left: make(chan struct{}), done: make(chan struct{})}
	if asked.Stdin {
		s.open(streamStdin)
	}
	if asked.TTY {
		s.open(streamResize)
	}
	// Clients wait for a first message.
	first := streamError
	switch {
	case asked.Stdout:
		first = streamStdout
	case asked.Stderr:
		first = streamStderr
	}
	_ = s.write(first, nil) // a client that has gone is found to be by reading
	s.runs.Go(s.read)
	s.runs.Go(s.ping)
	return s, nil
}

func (s *webSocket) open(stream string) {
	r, w := io.Pipe()
	s.in[channels[stream]] = &channel{r, w}
}

func (s *webSocket) reader(stream string) io.Reader {
	if c := s.in[channels[stream]]; c != nil {
		return c.r
	}
	return nil
}

func (s *webSocket) stdin() io.Reader      { return s.reader(streamStdin) }
func (s *webSocket) resize() io.Reader     { return s.reader(streamResize) }
func (s *webSocket) gone() <-chan struct{} { return s.left }

// read passes on what the client sends until there is no more.
func (s *webSocket) read() {
	defer close(s.left)
	for {
		_, message, err := s.conn.NextReader()
		if err == nil {
			err = s.message(message)
		}
		if err != nil {
			for _, c := range s.in {
				_ = c.w.CloseWithError(errClientGone)
			}
			return
		}
	}
}

// errChannel is the error of a message that closes no channel.
var errChannel = errors.New("a message closes no channel")

// message passes on one message, each part when it is full or the message has ended. What is
// for a channel that the client has not, or has closed, is nobody's.
func (s *webSocket) message(m io.Reader) error {
	kept, ok := parts.Get().(*[readSize]byte)
	if !ok {
		kept = new([readSize]byte)
	}
	defer parts.Put(kept)
	buf := kept[:]
	switch _, err := io.ReadFull(m, buf[:1]); {
	case errors.Is(err, io.EOF):
		return nil // empty
	case err != nil:
		return fmt.Errorf("read message: %w", err)
	}
	if s.v5 && buf[0] == remotecommand.StreamClose {
		n, err := io.ReadFull(m, buf[:2])
		if n != 1 || !errors.Is(err, io.ErrUnexpectedEOF) {
			return errChannel
		}
		if c := s.in[buf[0]]; c != nil {
			_ = c.w.Close()
		}
		return nil
	}
	to := io.Discard
	if c := s.in[buf[0]]; c != nil {
		to = tolerant{c.w}
	}
	for {
		n, err := io.ReadFull(m, buf)
		if n > 0 {
			_, _ = to.Write(buf[:n])
		}
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return fmt.Errorf("read message: %w", err)
		}
	}
}

// tolerant goes on when nobody reads any more.
type tolerant struct{ to io.Writer }

// Write implements io.Writer.
func (t tolerant) Write(p []byte) (int, error) {
	_, _ = t.to.Write(p)
	return len(p), nil
}

// ping makes a client that has gone known also where reading waits for the command.
func (s *webSocket) ping() {
	ticker := time.NewTicker(pingPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-s.left:
			return
		case <-ticker.C:
			if err := s.conn.WriteControl(websocket.PingMessage, nil, time.Now().Add(pingPeriod)); err != nil && !isTimeout(err) {
				// Reading ends with the connection, and what it waits for is let go.
				_ = s.conn.Close()
				s.letGo()
			}
		}
	}
}

func isTimeout(err error) bool {
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout()
}

// letGo lets nothing more be read of the channels.
func (s *webSocket) letGo() {
	for _, c := range s.in {
		_ = c.r.CloseWithError(errClientGone)
		_ = c.w.CloseWithError(errClientGone)
	}
}

func (s *webSocket) write(stream string, p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, err := s.conn.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return fmt.Errorf("write to client: %w", err)
	}
	if _, err = w.Write([]byte{channels[stream]}); err == nil {
		_, err = w.Write(p)
	}
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write to client: %w", err)
	}
	return nil
}

func (s *webSocket) hasten(at time.Time) {
	s.letGo()
	s.late.set(at, s.conn)
}

func (s *webSocket) close(ctx context.Context) {
	defer s.late.stop()
	close(s.done)
	s.letGo()
	_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(pingPeriod))
	select {
	case <-s.left:
	case <-ctx.Done():
	}
	_ = s.conn.Close()
	s.runs.Wait()
}
