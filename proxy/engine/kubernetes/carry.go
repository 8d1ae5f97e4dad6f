package kubernetes

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	restclient "k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/policy"
)

const (
	// maxStatus is the most bytes of what the API server says of a stream's end or failure.
	maxStatus = 64 << 10
	// maxSize is the most bytes of one size of a terminal.
	maxSize = 256
)

// carry has the API server run a permitted command and carries its streams. It returns nil
// where the command ended well, an *exit where the API server says otherwise.
func (u *upstream) carry(ctx context.Context, t *tape, what *understood) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	conn, err := u.open(ctx, what, remotecommand.StreamProtocolV4Name, func() { t.asking.Store(true) })
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	defer func() { _ = conn.Close() }()
	c := &carriage{tape: t, ways: map[string]httpstream.Stream{}, fail: cancel}
	t.prepare(cancel, false, u.quiet)
	if err = c.openStreams(conn, t.asked); err == nil {
		err = c.run()
	}
	if serr := t.seal(); err == nil {
		err = serr
	}
	_ = conn.Close()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return err
}

// open connects to the API server and asks it for streams of a protocol; asking is called
// before the request is sent. Identity is set here, on a request that holds nothing of the
// client's but what was understood.
func (u *upstream) open(ctx context.Context, what *understood, protocol string, asking func()) (httpstream.Connection, error) {
	login, err := u.session.Login(ctx)
	if err != nil {
		return nil, err
	}
	// Always by POST, so that RBAC asks for create.
	target := &url.URL{Scheme: u.base.Scheme, Host: u.base.Host, Path: what.path, RawQuery: what.query}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	r.Header = http.Header{
		httpstream.HeaderConnection: {httpstream.HeaderUpgrade}, httpstream.HeaderUpgrade: {spdy.HeaderSpdy31},
		httpstream.HeaderProtocolVersion: {protocol}, "User-Agent": {"cardea-proxy"},
		transport.ImpersonateUserHeader: {u.user},
	}
	if login.Token != "" {
		r.Header.Set("Authorization", "Bearer "+login.Token)
	}
	conn, err := u.connect(ctx)
	if ctx.Err() == nil {
		u.session.Reachable(err)
	}
	if err != nil {
		return nil, unreachable(errors.New("the connection failed"))
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	asking()
	upgraded, err := u.upgrade(conn, r)
	if !stop() && err == nil {
		_ = upgraded.Close()
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
	}
	return upgraded, err
}

func (u *upstream) connect(ctx context.Context) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, u.answer)
	defer cancel()
	port := u.base.Port()
	if port == "" {
		port = "443"
	}
	raw, err := u.session.Dial(ctx, "tcp", net.JoinHostPort(u.base.Hostname(), port))
	if err != nil {
		return nil, err
	}
	config := u.transport.TLSClientConfig.Clone()
	config.NextProtos, config.ServerName = []string{"http/1.1"}, u.base.Hostname()
	secure := tls.Client(raw, config)
	if err := secure.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("TLS with the API server: %w", err)
	}
	return secure, nil
}

// upgrade sends a request for SPDY and makes a connection of the answer.
func (u *upstream) upgrade(conn net.Conn, r *http.Request) (httpstream.Connection, error) {
	if err := conn.SetDeadline(time.Now().Add(u.answer)); err != nil {
		return nil, unreachable(errors.New("the connection failed"))
	}
	if err := r.Write(conn); err != nil {
		return nil, unreachable(errors.New("the connection failed"))
	}
	bound := &io.LimitedReader{R: conn, N: maxStatus + u.transport.MaxResponseHeaderBytes}
	from := bufio.NewReader(bound)
	answer, err := http.ReadResponse(from, r)
	if err != nil {
		return nil, unreachable(errors.New("there is no answer"))
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusSwitchingProtocols {
		return nil, refusedBy(answer)
	}
	if answer.Header.Get(httpstream.HeaderProtocolVersion) != r.Header.Get(httpstream.HeaderProtocolVersion) || answer.Header.Get(httpstream.HeaderUpgrade) != spdy.HeaderSpdy31 {
		return nil, unreachable(errors.New("it speaks another version of the protocol of streams"))
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, unreachable(errors.New("the connection failed"))
	}
	ahead, err := from.Peek(from.Buffered())
	if err != nil {
		return nil, unreachable(errors.New("the connection failed"))
	}
	rest := &boundedFrames{Conn: conn, from: io.MultiReader(bytes.NewReader(bytes.Clone(ahead)), conn)}
	upgraded, err := spdy.NewClientConnectionWithPings(rest, pingPeriod)
	if err != nil {
		return nil, unreachable(errors.New("the connection failed"))
	}
	return upgraded, nil
}

// refusedBy is what the API server says instead of an upgrade.
func refusedBy(answer *http.Response) error {
	status := &metav1.Status{}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxStatus))
	if err != nil || json.Unmarshal(body, status) != nil || status.Status != metav1.StatusFailure {
		return unreachable(fmt.Errorf("it answers with status %d", answer.StatusCode))
	}
	return &exit{status}
}

// carriage are the streams of one command.
type carriage struct {
	tape *tape
	ways map[string]httpstream.Stream
	fail context.CancelCauseFunc
}

// openStreams opens what was asked for, the error stream first, as the protocol wants it.
func (c *carriage) openStreams(conn httpstream.Connection, asked *kubeapi.Stream) error {
	for _, way := range []struct {
		stream string
		is     bool
	}{{streamError, true}, {streamStdin, asked.Stdin}, {streamStdout, asked.Stdout}, {streamStderr, asked.Stderr}, {streamResize, asked.TTY}} {
		if !way.is {
			continue
		}
		s, err := conn.CreateStream(http.Header{corev1.StreamType: {way.stream}})
		if err != nil {
			return unreachable(errors.New("it opens no streams"))
		}
		c.ways[way.stream] = s
	}
	return nil
}

// run carries the streams until the command has ended and all of its output has passed.
func (c *carriage) run() error {
	if c.ways[streamStdin] != nil {
		c.tape.runs.Go(c.input)
	}
	if c.ways[streamResize] != nil {
		c.tape.runs.Go(c.sizes)
	}
	var outputs sync.WaitGroup
	for _, stream := range []string{streamStdout, streamStderr} {
		if c.ways[stream] != nil {
			outputs.Go(func() { c.output(stream) })
		}
	}
	said, err := io.ReadAll(io.LimitReader(c.ways[streamError], maxStatus))
	outputs.Wait()
	if oerr := c.tape.outputEnded(); oerr != nil {
		return oerr
	}
	err = endOf(said, err)
	if ended := new(exit); err == nil || errors.As(err, &ended) {
		if rerr := c.tape.record(streamError, said, int64(len(said))); rerr != nil {
			return rerr
		}
	}
	return err
}

// ended waits until a command has ended, and returns as carry does.
func (c *carriage) ended() error {
	return endOf(io.ReadAll(io.LimitReader(c.ways[streamError], maxStatus)))
}

// endOf is what the error stream said at its end.
func endOf(said []byte, err error) error {
	status := &metav1.Status{}
	switch {
	case err != nil || json.Unmarshal(said, status) != nil || !slices.Contains([]string{metav1.StatusSuccess, metav1.StatusFailure}, status.Status):
		// An end without a word is none: the connection was cut.
		return &policy.Refusal{Code: policy.CodeUpstream, Message: "the API server cut the stream before it said how the command ended", Hint: "find out what the command did"}
	case status.Status == metav1.StatusSuccess:
		return nil
	}
	return &exit{status}
}

// input carries stdin. Only an end that the client tells is one for the command. A command
// that reads no more still says how it ends.
func (c *carriage) input() {
	from, to, buf := c.tape.client.stdin(), c.ways[streamStdin], make([]byte, readSize)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if rerr := c.tape.input(streamStdin, buf[:n]); rerr != nil {
				c.fail(rerr)
				return
			}
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if errors.Is(err, io.EOF) {
			if rerr := c.tape.inputEnded(); rerr != nil {
				c.fail(rerr)
				return
			}
			_ = to.Close()
		}
		if err != nil {
			return
		}
	}
}

// sizes carries the sizes of the terminal, each as it is understood.
func (c *carriage) sizes() {
	from := &io.LimitedReader{R: c.tape.client.resize()}
	decoder := json.NewDecoder(from)
	for {
		from.N = maxSize
		size := restclient.TerminalSize{}
		if err := decoder.Decode(&size); err != nil {
			return
		}
		b, err := json.Marshal(size)
		if err != nil {
			return
		}
		if err := c.tape.input(streamResize, b); err != nil {
			c.fail(err)
			return
		}
		if _, err := c.ways[streamResize].Write(b); err != nil {
			return
		}
	}
}

// output carries stdout or stderr. A client that cannot be written to, or a recording that
// fails, ends the stream.
func (c *carriage) output(stream string) {
	buf := make([]byte, readSize)
	for {
		n, err := c.ways[stream].Read(buf)
		if n > 0 {
			if err := c.tape.output(stream, buf[:n]); err != nil {
				c.fail(err)
				return
			}
		}
		if err != nil {
			return
		}
	}
}
