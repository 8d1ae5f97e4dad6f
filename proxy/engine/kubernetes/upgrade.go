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
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/transport"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
)

// open connects as dial does, and begins SPDY.
func (u *upstream) open(ctx context.Context, what *understood, protocol string, asking func()) (httpstream.Connection, error) {
	conn, err := u.dial(ctx, what, protocol, asking)
	if err != nil {
		return nil, err
	}
	upgraded, err := spdy.NewClientConnectionWithPings(&boundedFrames{Conn: conn, from: conn}, pingPeriod)
	if err != nil {
		_ = conn.Close()
		return nil, unreachable(errors.New("the connection failed"))
	}
	return upgraded, nil
}

// dial connects to the API server and asks it for streams of a protocol; asking is called
// before the request is sent. Identity is set here, on a request that holds nothing of the
// client's but what was understood.
func (u *upstream) dial(ctx context.Context, what *understood, protocol string, asking func()) (net.Conn, error) {
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

// upgrade sends a request for SPDY, and returns the connection behind the head of the answer.
func (u *upstream) upgrade(conn net.Conn, r *http.Request) (net.Conn, error) {
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
	return &resumed{Conn: conn, from: io.MultiReader(bytes.NewReader(bytes.Clone(ahead)), conn)}, nil
}

// resumed is a connection of which something has been read ahead.
type resumed struct {
	net.Conn
	from io.Reader
}

// Read implements io.Reader.
func (r *resumed) Read(p []byte) (int, error) {
	return r.from.Read(p) //nolint:wrapcheck // it is the connection's
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
