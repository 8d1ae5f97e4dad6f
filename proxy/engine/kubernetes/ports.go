package kubernetes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
)

const (
	protocolPorts = "portforward.k8s.io"
	tunnelled     = "SPDY/3.1+" + protocolPorts
	// maxForwarded is how many connections a client may forward at a time.
	maxForwarded = 128
)

// errForwarded is the error of a stream that belongs to no connection.
var errForwarded = errors.New("a stream belongs to no forwarded connection")

// errUnmaskablePorts refuses ports where text is masked.
var errUnmaskablePorts = &policy.Refusal{Code: policy.CodeMaskedColumn, Message: "a MaskingRule's detectors mask text of this Target, and what passes through a forwarded port cannot be masked",
	Hint: "ask for a Target of the protocol that the port speaks, or for one that the rule does not select"}

// forwarding is one port-forward: any number of connections to ports of a pod.
type forwarding struct {
	session  *session.Session
	permit   session.Permit
	client   httpstream.Connection
	upstream httpstream.Connection
	ctx      context.Context //nolint:containedctx // that of the request, which streams belong to

	ready  chan struct{} // closed once upstream is there, or refused says why not
	reason error

	mu    sync.Mutex
	halfs map[string]*forwarded // by the client's number
	count int
	last  int
	ended bool
	runs  sync.WaitGroup
}

// forwarded is one connection: its data, and what is said of its failure.
type forwarded struct {
	id          string
	port        string
	data, fault httpstream.Stream
}

// servePorts carries port-forward. The ports are named with each connection, and decided on
// there.
func (h *handler) servePorts(w http.ResponseWriter, r *http.Request, what *understood, c *policy.Command, verdict session.Verdict) {
	if h.session.Admission().Detectors != nil {
		refuse(w, h.session.Refuse(c, errUnmaskablePorts))
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	f := &forwarding{session: h.session, ctx: ctx, ready: make(chan struct{}), halfs: map[string]*forwarded{}}
	raw, refusal, err := h.acceptPorts(w, r, f)
	switch {
	case refusal != nil:
		refuse(w, h.session.Refuse(c, refusal))
		return
	case err != nil:
		// The client was told why.
		_ = h.session.Refuse(c, &policy.Refusal{Code: policy.CodeProtocol, Message: "the client opened no streams"})
		return
	}
	var late lateness
	stop := context.AfterFunc(ctx, func() { late.set(time.Now().Add(h.limits.Farewell), raw) })
	f.runs.Go(func() {
		select {
		case <-f.client.CloseChan():
			cancel(errClientGone)
		case <-ctx.Done():
		}
	})
	f.reason = h.authorizePorts(ctx, f, what, c, verdict)
	close(f.ready)
	if f.upstream != nil {
		select {
		case <-f.upstream.CloseChan():
			cancel(unreachable(errors.New("the connection ended")))
		case <-ctx.Done():
		}
	} else {
		// Each connection is told why it is refused.
		<-ctx.Done()
	}
	f.mu.Lock()
	f.ended = true
	f.mu.Unlock()
	f.runs.Wait()
	stop()
	if f.upstream != nil {
		_ = f.upstream.Close()
	}
	_ = raw.Close()
	_ = f.client.Close()
	late.stop()
	if f.permit.Valid() {
		_ = h.session.Respond(f.permit, &recording.Response{Final: true, Tag: "ended", RowCount: int64(f.last)})
	}
}

func (h *handler) authorizePorts(ctx context.Context, f *forwarding, what *understood, c *policy.Command, verdict session.Verdict) error {
	held := false
	permit, err := h.session.Authorize(ctx, c, verdict, func(string, time.Time) error { held = true; return nil }, nil)
	if err != nil {
		return err
	}
	f.permit = permit
	if held {
		if err := h.samePod(ctx, what.facts); err != nil {
			return err
		}
	}
	f.upstream, err = h.up.open(ctx, what, protocolPorts, func() {})
	return err
}

// acceptPorts upgrades the client's connection, and returns what closes it at once.
func (h *handler) acceptPorts(w http.ResponseWriter, r *http.Request, f *forwarding) (io.Closer, *policy.Refusal, error) {
	refusal := &policy.Refusal{Code: policy.CodeProtocol, Message: "port-forward needs an upgrade of the connection to SPDY, or SPDY in a WebSocket", Hint: "use kubectl or a client library"}
	if r.ProtoMajor != 1 || !httpstream.IsUpgradeRequest(r) || r.ContentLength != 0 {
		return nil, refusal, nil
	}
	switch {
	case websocket.IsWebSocketUpgrade(r) && slices.Contains(websocket.Subprotocols(r), tunnelled):
		upgrader := websocket.Upgrader{HandshakeTimeout: h.limits.Farewell, Subprotocols: []string{tunnelled}, ReadBufferSize: messageSize, WriteBufferSize: messageSize,
			Error: func(w http.ResponseWriter, _ *http.Request, status int, _ error) {
				http.Error(w, http.StatusText(status), status)
			}}
		conn, err := upgrader.Upgrade(w, r, nil)
		if err != nil {
			return nil, nil, fmt.Errorf("upgrade to WebSocket: %w", err)
		}
		tunnel := portforward.NewTunnelingConnection("client", conn)
		f.client, err = spdy.NewServerConnectionWithPings(&boundedFrames{Conn: tunnel, from: bufio.NewReader(tunnel)}, f.accept, pingPeriod)
		if err != nil {
			_ = conn.Close()
			return nil, nil, fmt.Errorf("begin SPDY: %w", err)
		}
		return conn, nil, nil
	case strings.EqualFold(r.Header.Get("Upgrade"), spdy.HeaderSpdy31) && slices.Contains(r.Header.Values(httpstream.HeaderProtocolVersion), protocolPorts):
		w.Header().Set(httpstream.HeaderProtocolVersion, protocolPorts)
		hijack := &guarded{ResponseWriter: w}
		f.client = spdy.NewResponseUpgrader().UpgradeResponse(hijack, r, f.accept)
		if f.client == nil {
			return nil, nil, errNoStreams
		}
		return hijack.conn, nil, nil
	}
	return nil, refusal, nil
}

// accept takes a stream of the client's. A connection begins with its second one.
func (f *forwarding) accept(s httpstream.Stream, ready <-chan struct{}) error {
	id, port := s.Headers().Get(corev1.PortForwardRequestIDHeader), s.Headers().Get(corev1.PortHeader)
	f.mu.Lock()
	defer f.mu.Unlock()
	c := f.halfs[id]
	if f.ended || id == "" || len(id) > 32 || c == nil && f.count >= maxForwarded {
		return errForwarded
	}
	if c == nil {
		c = &forwarded{id: id, port: port}
	}
	switch kind := s.Headers().Get(corev1.StreamType); {
	case c.port != port:
		return errForwarded
	case kind == corev1.StreamTypeData && c.data == nil:
		c.data = s
	case kind == corev1.StreamTypeError && c.fault == nil:
		c.fault = s
	default:
		return errForwarded
	}
	if f.halfs[id] == nil {
		f.halfs[id] = c
		f.count++
	}
	if c.data != nil && c.fault != nil {
		// Its number is not free before it has ended.
		f.last++
		number := f.last
		f.runs.Go(func() { f.serve(c, number, ready) })
	}
	return nil
}

// serve carries one connection.
func (f *forwarding) serve(c *forwarded, number int, ready <-chan struct{}) {
	defer func() {
		_ = c.data.Reset()
		_ = c.fault.Reset()
		f.client.RemoveStreams(c.data, c.fault)
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.halfs, c.id)
		f.count--
	}()
	for _, wait := range []<-chan struct{}{ready, f.ready} {
		select {
		case <-wait:
		case <-f.ctx.Done():
			c.refuse(causeOf(f.ctx, f.ctx.Err()))
			return
		}
	}
	if f.reason != nil {
		c.refuse(causeOf(f.ctx, f.reason))
		return
	}
	port, refusal := f.permitted(c.port)
	if refusal != nil {
		// An attempt is in the recording as well.
		if err := f.session.Respond(f.permit, &recording.Response{Tag: fmt.Sprintf("connection %d refused", number), Error: refusal.Error()}); err != nil {
			return
		}
		c.refuse(refusal)
		return
	}
	if err := f.session.Input(f.permit, &recording.Input{Stream: "port", Data: []byte(port)}); err != nil {
		c.refuse(err)
		return
	}
	sent, received := f.pass(c, port, number)
	// A recording that fails has ended the session.
	_ = f.session.Respond(f.permit, &recording.Response{Tag: fmt.Sprintf("connection %d to port %s: %d bytes sent, %d received", number, port, sent, received), ByteCount: received})
}

// permitted returns a port as it is asked for upstream.
func (f *forwarding) permitted(port string) (string, *policy.Refusal) {
	if f.session.Admission().Detectors != nil {
		return "", errUnmaskablePorts // a rule that came later
	}
	n, err := strconv.ParseUint(port, 10, 16)
	spec := f.session.Admission().Grant.Spec.Kubernetes
	if err != nil || n == 0 || spec == nil || !slices.Contains(spec.Ports, int32(n)) { //nolint:gosec // n has 16 bits
		return "", &policy.Refusal{Code: policy.CodeNotPermitted, Message: "the grant does not permit port " + policy.Printable(port, 8), Hint: "ask for a grant that does"}
	}
	return strconv.FormatUint(n, 10), nil
}

// refuse tells the client why its connection ends.
func (c *forwarded) refuse(reason error) {
	_, _ = io.WriteString(c.fault, statusOf(reason).Message)
	_ = c.fault.Close()
}

// pass copies the data of a connection until the pod ends it, and returns how many bytes
// went each way.
func (f *forwarding) pass(c *forwarded, port string, number int) (sent, received int64) {
	headers := http.Header{corev1.PortHeader: {port}, corev1.PortForwardRequestIDHeader: {strconv.Itoa(number)}}
	open := func(kind string) (httpstream.Stream, error) {
		headers.Set(corev1.StreamType, kind)
		return f.upstream.CreateStream(headers)
	}
	fault, err := open(corev1.StreamTypeError)
	if err != nil {
		c.refuse(unreachable(errors.New("it opens no streams")))
		return 0, 0
	}
	defer func() { _ = fault.Reset(); f.upstream.RemoveStreams(fault) }()
	_ = fault.Close() // nothing is sent there
	data, err := open(corev1.StreamTypeData)
	if err != nil {
		c.refuse(unreachable(errors.New("it opens no streams")))
		return 0, 0
	}
	defer f.upstream.RemoveStreams(data)
	stop := context.AfterFunc(f.ctx, func() {
		c.refuse(causeOf(f.ctx, f.ctx.Err()))
		_ = data.Reset()
		_ = c.data.Reset()
	})
	defer stop()
	var out atomic.Int64
	var copies sync.WaitGroup
	copies.Go(func() {
		n, err := io.Copy(struct{ io.Writer }{data}, struct{ io.Reader }{c.data})
		out.Store(n)
		if err == nil {
			_ = data.Close()
		}
	})
	copies.Go(func() {
		// What the pod's node says of a failure is for the client.
		if said, err := io.ReadAll(io.LimitReader(fault, maxStatus)); err == nil && len(said) > 0 {
			_, _ = c.fault.Write(said)
		}
		_ = c.fault.Close()
	})
	received, _ = io.Copy(struct{ io.Writer }{c.data}, struct{ io.Reader }{data})
	_ = c.data.Close()
	_ = data.Reset()
	_ = fault.Reset()
	_ = c.data.Reset()
	copies.Wait()
	return out.Load(), received
}

var _ net.Conn = (*boundedFrames)(nil)
