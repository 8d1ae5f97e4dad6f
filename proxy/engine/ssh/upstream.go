package ssh

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

const (
	// certified is how long the certificate of a session is good: for signing in once.
	certified = 5 * time.Minute
	// skew is by how much it begins earlier, for a server whose clock is behind.
	skew = time.Minute
)

// upstream is the connection to the server. It is made when something first is permitted.
type upstream struct {
	serving *serving
	// connected tells, once, what the server opens.
	connected chan (<-chan ssh.NewChannel)

	mu     sync.Mutex
	client ssh.Conn
	closed bool
	err    error
}

func newUpstream(v *serving) *upstream {
	return &upstream{serving: v, connected: make(chan (<-chan ssh.NewChannel), 1)}
}

// connect returns the connection, made once.
func (u *upstream) connect(ctx context.Context) (ssh.Conn, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil, errors.New("the session has ended")
	}
	if u.client != nil || u.err != nil {
		return u.client, u.err
	}
	client, channels, requests, err := u.dial(ctx)
	if err != nil {
		// A client that gives up must not decide for the others of the connection.
		if ctx.Err() == nil {
			u.err = err
		}
		return nil, err
	}
	u.client = client
	go ssh.DiscardRequests(requests)
	u.connected <- channels
	return client, nil
}

// close ends the connection, and every channel of it.
func (u *upstream) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	if u.client != nil {
		_ = u.client.Close()
	}
}

// open opens a channel at the server.
func (u *upstream) open(ctx context.Context, kind string, data []byte) (ssh.Channel, <-chan *ssh.Request, error) {
	client, err := u.connect(ctx)
	if err != nil {
		return nil, nil, err
	}
	channel, requests, err := client.OpenChannel(kind, data)
	refused := new(ssh.OpenChannelError)
	switch {
	case errors.As(err, &refused):
		return nil, nil, &policy.Refusal{Code: policy.CodeUpstream, Message: "the server refused to open the channel: " + policy.Printable(refused.Message, 200)}
	case err != nil:
		return nil, nil, unreachable("the connection failed")
	}
	return channel, requests, nil
}

func unreachable(why string) error {
	return &policy.Refusal{Code: policy.CodeUpstream, Message: "the server cannot be reached: " + why, Hint: "try again; an administrator finds more in the Target's conditions"}
}

// errHostKey is the error of a server that is not the one that the Target names.
var errHostKey = errors.New("the server's host key is none that the Target names")

// dial connects and signs in, as RFC 4252 says, with a key and no other way.
func (u *upstream) dial(ctx context.Context) (ssh.Conn, <-chan ssh.NewChannel, <-chan *ssh.Request, error) {
	v := u.serving
	a := v.session.Admission()
	target := a.Target.Spec.SSH
	ctx, cancel := context.WithTimeout(ctx, v.limits.SignIn)
	defer cancel()
	login, err := v.session.Login(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	signer, err := u.signer(login, a)
	if err != nil {
		return nil, nil, nil, err
	}
	callback, hostAlgorithms, err := u.verifier(target)
	if err != nil {
		return nil, nil, nil, err
	}
	address := net.JoinHostPort(target.Host, strconv.Itoa(int(target.Port)))
	raw, err := v.session.Dial(ctx, "tcp", address)
	if err != nil {
		v.reachable(ctx, errors.New("the connection failed"))
		return nil, nil, nil, unreachable("the connection failed")
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	client, channels, requests, err := ssh.NewClientConn(raw, address, &ssh.ClientConfig{
		Config: algorithms(), User: a.Request.Login, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, ClientVersion: version,
		HostKeyCallback: callback, HostKeyAlgorithms: hostAlgorithms,
		// What the server shows before signing in is not the client's.
		BannerCallback: func(string) error { return nil },
	})
	if !stop() && err == nil {
		_ = client.Close()
		err = ctx.Err()
	}
	if err != nil {
		_ = raw.Close()
		why := "signing in failed: the server does not take the gate's key for this login"
		switch {
		case errors.Is(err, errHostKey):
			why = errHostKey.Error()
		case ctx.Err() != nil:
			why = "signing in took too long"
		}
		v.reachable(ctx, errors.New(why))
		return nil, nil, nil, unreachable(why)
	}
	v.reachable(ctx, nil)
	return client, channels, requests, nil
}

func (v *serving) reachable(ctx context.Context, err error) {
	if cause := context.Cause(ctx); cause == nil || errors.Is(cause, context.DeadlineExceeded) {
		v.session.Reachable(err)
	}
}

// signer is what the gate proves itself by: a certificate for this session, or a lasting key.
func (u *upstream) signer(login session.Login, a *policy.Admission) (ssh.Signer, error) {
	if login.Key == nil {
		return nil, unreachable("the Target's key is not there")
	}
	if a.Target.Spec.SSH.UserCA == nil {
		return login.Key, nil
	}
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key: %w", err)
	}
	key, err := ssh.NewPublicKey(public)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	var serial [8]byte
	if _, err := rand.Read(serial[:]); err != nil {
		return nil, fmt.Errorf("choose serial number: %w", err)
	}
	now := u.serving.conn.engine.c.Now()
	cert := &ssh.Certificate{
		Key: key, CertType: ssh.UserCert, Serial: binary.BigEndian.Uint64(serial[:]), ValidPrincipals: []string{a.Request.Login},
		KeyId:      fmt.Sprintf("cardea grant %s/%s session %s", a.Grant.Namespace, a.Grant.Name, u.serving.session.Name()),
		ValidAfter: uint64(now.Add(-skew).Unix()), ValidBefore: uint64(now.Add(certified).Unix()), //nolint:gosec // times of now
	}
	cert.Extensions = extensions(a.Grant.Spec.SSH)
	if err := cert.SignCert(rand.Reader, login.Key); err != nil {
		return nil, fmt.Errorf("sign the session's certificate: %w", err)
	}
	ephemeral, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, fmt.Errorf("use key: %w", err)
	}
	return ssh.NewCertSigner(cert, ephemeral)
}

// extensions are those of PROTOCOL.certkeys that the grant needs, so that the server holds what
// the gate does.
func extensions(p *v1alpha1.SSHPermissions) map[string]string {
	out := map[string]string{}
	if p == nil {
		return out
	}
	has := func(c v1alpha1.SSHChannel) bool { return slices.Contains(p.Channels, c) }
	if has(v1alpha1.SSHShell) && p.Terminal == v1alpha1.SSHRaw {
		out["permit-pty"] = ""
	}
	if has(v1alpha1.SSHLocalForward) || has(v1alpha1.SSHRemoteForward) {
		out["permit-port-forwarding"] = ""
	}
	if has(v1alpha1.SSHAgent) {
		out["permit-agent-forwarding"] = ""
	}
	return out
}

// verifier returns what judges the server's host key, and the algorithms by which the server is
// to prove it: one of the keys that the Target names, or a certificate for its host by one of
// its authorities.
func (u *upstream) verifier(t *v1alpha1.SSHTarget) (ssh.HostKeyCallback, []string, error) {
	var pinned, authorities [][]byte
	var algorithms []string
	for _, line := range t.HostKeys {
		key, err := policy.HostKey(line)
		if err != nil {
			return nil, nil, fmt.Errorf("read hostKeys: %w", err)
		}
		pinned = append(pinned, key.Marshal())
		algorithms = append(algorithms, signatures(key.Type())...)
	}
	for _, line := range t.HostCAs {
		key, err := policy.HostKey(line)
		if err != nil {
			return nil, nil, fmt.Errorf("read hostCAs: %w", err)
		}
		authorities = append(authorities, key.Marshal())
	}
	if len(authorities) > 0 {
		algorithms = append([]string{ssh.CertAlgoED25519v01, ssh.CertAlgoECDSA256v01, ssh.CertAlgoECDSA384v01, ssh.CertAlgoECDSA521v01,
			ssh.CertAlgoRSASHA512v01, ssh.CertAlgoRSASHA256v01}, algorithms...)
	}
	isOne := func(of [][]byte, key ssh.PublicKey) bool {
		return slices.ContainsFunc(of, func(k []byte) bool { return bytes.Equal(k, key.Marshal()) })
	}
	checker := &ssh.CertChecker{Clock: u.serving.conn.engine.c.Now}
	return func(_ string, _ net.Addr, key ssh.PublicKey) error {
		cert, is := key.(*ssh.Certificate)
		switch {
		case !is && isOne(pinned, key):
			return nil
		case !is || cert.CertType != ssh.HostCert || !isOne(authorities, cert.SignatureKey) || !slices.Contains(cert.ValidPrincipals, t.Host),
			checker.CheckCert(t.Host, cert) != nil:
			return errHostKey
		}
		return nil
	}, slices.Compact(algorithms), nil
}

// signatures are the algorithms of keys of a type: SHA-1 is none.
func signatures(keyType string) []string {
	if keyType == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{keyType}
}
