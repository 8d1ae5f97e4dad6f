package kubernetes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"k8s.io/client-go/transport"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

// upstream is the API server of one session.
type upstream struct {
	session   *session.Session
	transport *http.Transport
	base      *url.URL
	user      string        // whom the proxy impersonates
	answer    time.Duration // how long an answer may take to begin
	quiet     time.Duration // of a terminal, until what is held back is shown
}

// newUpstream prepares requests for the session's Target. It connects to nothing.
func newUpstream(ctx context.Context, s *session.Session, l Limits) (*upstream, error) {
	login, err := s.Login(ctx)
	if err != nil {
		return nil, err
	}
	bundle, err := s.CA(ctx)
	if err != nil {
		return nil, err
	}
	a := s.Admission()
	t := a.Target.Spec.Kubernetes
	if t == nil {
		return nil, unreachable(errors.New("the Target is no API server"))
	}
	address := login.Server
	if t.Server != nil {
		address = t.Server.URL
	}
	base, err := url.Parse(address)
	if err != nil || base.Scheme != "https" || base.Host == "" {
		return nil, unreachable(errors.New("its address is not https"))
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if bundle != nil {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(bundle)
	}
	if login.Certificate != nil {
		config.Certificates = []tls.Certificate{*login.Certificate}
	}
	return &upstream{
		session: s, base: &url.URL{Scheme: base.Scheme, Host: base.Host},
		user:   kubeapi.User(a.Grant.Namespace, a.Grant.Name, string(a.Grant.UID)),
		answer: l.Answer, quiet: l.Quiet,
		transport: &http.Transport{
			DialContext: s.Dial, TLSClientConfig: config, ForceAttemptHTTP2: true, DisableCompression: true,
			ResponseHeaderTimeout: l.Answer, MaxResponseHeaderBytes: int64(l.Header), MaxIdleConnsPerHost: 4, IdleConnTimeout: l.Idle,
			Proxy: nil, // no variable of the environment leads elsewhere
		},
	}, nil
}

// send sends a request that was permitted. Identity is set here and nowhere else, over
// whatever the headers hold.
func (u *upstream) send(ctx context.Context, method string, what *understood, headers http.Header, body io.Reader, length int64) (*http.Response, error) {
	login, err := u.session.Login(ctx)
	if err != nil {
		return nil, err
	}
	target := &url.URL{Scheme: u.base.Scheme, Host: u.base.Host, Path: what.path, RawQuery: what.query}
	r, err := http.NewRequestWithContext(ctx, method, target.String(), body)
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	r.ContentLength = length
	r.Header = headers
	r.Header.Del("Authorization")
	if login.Token != "" {
		r.Header.Set("Authorization", "Bearer "+login.Token)
	}
	r.Header.Set(transport.ImpersonateUserHeader, u.user)
	answer, err := u.transport.RoundTrip(r)
	if ctx.Err() == nil {
		u.session.Reachable(err)
	}
	return answer, err
}

func unreachable(err error) error {
	return &policy.Refusal{Code: policy.CodeUpstream, Message: fmt.Sprintf("the API server cannot be reached: %v", err), Hint: "try again later"}
}
