package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/session"
	"github.com/cardea-dev/cardea/proxy/sshapi"
)

// maxHost is the most bytes of the name of a host.
const maxHost = 255

// connection is what opens a forwarded connection (RFC 4254, section 7.2).
type connection struct {
	Host       string
	Port       uint32
	OriginHost string
	OriginPort uint32
}

// forwarding makes the command of a forward.
func (v *serving) forwarding(text string, channel v1alpha1.SSHChannel, host string, port uint32) *policy.Command {
	login := v.session.Admission().Request.Login
	f := &sshapi.Facts{Known: true, Channel: channel, Login: login, Host: host, Port: port}
	if len(host) > maxHost {
		f = &sshapi.Facts{Unknown: "the name of the host is too long"}
	}
	return &policy.Command{Engine: Name, SSH: f, Text: []byte(text + " " + policy.Printable(f.Place(), maxHost+8)),
		Context: map[string]string{"login": login, "channel": string(channel)}}
}

// permitForward asks for a forward. None is opened while something awaits approval: what that
// is about must not be reached by another way meanwhile.
func (v *serving) permitForward(ctx context.Context, c *policy.Command) (session.Permit, error) {
	if v.held.Load() > 0 {
		return session.Permit{}, v.session.Refuse(c, &policy.Refusal{Code: policy.CodeApprovalPending,
			Message: "no forward is opened while a command awaits approval", Hint: "try again when it was decided"})
	}
	return v.authorize(ctx, c, nil)
}

// forward connects the client to a place that the server can reach (ssh -L).
func (v *serving) forward(ctx context.Context, n ssh.NewChannel) {
	var to connection
	if ssh.Unmarshal(n.ExtraData(), &to) != nil {
		_ = n.Reject(ssh.ConnectionFailed, string(policy.CodeProtocol)+": the request cannot be read")
		return
	}
	permit, err := v.permitForward(ctx, v.forwarding("forward to", v1alpha1.SSHLocalForward, to.Host, to.Port))
	if err != nil {
		_ = n.Reject(ssh.Prohibited, sentence(err))
		return
	}
	// Where the client has the connection from is its own.
	to.OriginHost, to.OriginPort = "127.0.0.1", 0
	server, requests, err := v.server.open(ctx, "direct-tcpip", ssh.Marshal(to))
	if err != nil {
		v.conclude(permit, &recording.Response{Error: "not forwarded"})
		_ = n.Reject(ssh.ConnectionFailed, sentence(err))
		return
	}
	client, ours, err := n.Accept()
	if err != nil {
		_ = server.Close()
		go ssh.DiscardRequests(requests)
		v.conclude(permit, &recording.Response{Error: "the client has gone"})
		return
	}
	v.couple(ctx, permit, client, ours, server, requests)
}

// couple passes bytes both ways until one side closes, and records how many.
func (v *serving) couple(ctx context.Context, permit session.Permit, client ssh.Channel, ours <-chan *ssh.Request, server ssh.Channel, theirs <-chan *ssh.Request) {
	both := func() { _ = client.Close(); _ = server.Close() }
	stop := context.AfterFunc(ctx, both)
	defer stop()
	var sent, received atomic.Int64
	var copies, requests sync.WaitGroup
	requests.Go(func() { ssh.DiscardRequests(ours); both() })
	requests.Go(func() { ssh.DiscardRequests(theirs); both() })
	pass := func(to, from ssh.Channel, count *atomic.Int64) {
		_, _ = io.Copy(&counted{to, count, v}, struct{ io.Reader }{from})
		_ = to.CloseWrite()
	}
	copies.Go(func() { pass(server, client, &sent) })
	copies.Go(func() { pass(client, server, &received) })
	copies.Wait()
	both()
	requests.Wait()
	r := &recording.Response{Tag: fmt.Sprintf("closed: %d bytes sent, %d received", sent.Load(), received.Load()), ByteCount: received.Load()}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, errClientGone) {
		r.Tag, r.Error = "", "the forward was ended"
	}
	v.conclude(permit, r)
}

// counted counts what is written.
type counted struct {
	io.Writer
	n *atomic.Int64
	v *serving
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n.Add(int64(n))
	c.v.touch()
	return n, err
}

// conclude records the end of a forward.
func (v *serving) conclude(permit session.Permit, r *recording.Response) {
	r.Final = true
	if err := v.session.Respond(permit, r); err != nil {
		v.cancel(err)
	}
}

// listen has the server listen for the client (ssh -R; RFC 4254, section 7.1).
func (v *serving) listen(ctx context.Context, r *ssh.Request) {
	var at place
	if ssh.Unmarshal(r.Payload, &at) != nil {
		_ = r.Reply(false, nil)
		return
	}
	permit, err := v.permitForward(ctx, v.forwarding("listen at", v1alpha1.SSHRemoteForward, at.Host, at.Port))
	if err != nil {
		_ = r.Reply(false, nil)
		return
	}
	ok := false
	if v.reserve(at) {
		if client, cerr := v.server.connect(ctx); cerr == nil {
			ok, _, err = client.SendRequest("tcpip-forward", true, ssh.Marshal(at))
			ok = ok && err == nil
		}
		if !ok {
			v.release(at)
		}
	}
	end := &recording.Response{Tag: "listening"}
	if !ok {
		end = &recording.Response{Error: "the server does not listen"}
	}
	v.conclude(permit, end)
	_ = r.Reply(ok, nil)
}

func (v *serving) reserve(p place) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.listens[p] || len(v.listens) >= v.limits.Forwards {
		return false
	}
	v.listens[p] = true
	return true
}

func (v *serving) release(p place) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	was := v.listens[p]
	delete(v.listens, p)
	return was
}

// unlisten has the server listen no more.
func (v *serving) unlisten(ctx context.Context, r *ssh.Request) {
	var at place
	if ssh.Unmarshal(r.Payload, &at) != nil || !v.release(at) {
		_ = r.Reply(false, nil)
		return
	}
	ok := false
	if client, err := v.server.connect(ctx); err == nil {
		ok, _, err = client.SendRequest("cancel-tcpip-forward", true, ssh.Marshal(at))
		ok = ok && err == nil
	}
	_ = r.Reply(ok, nil)
}

// fromServer takes what the server opens: connections to a place where it listens for the
// client, and to the client's agent.
func (v *serving) fromServer(ctx context.Context, n ssh.NewChannel) {
	var permit session.Permit
	var err error
	switch n.ChannelType() {
	case "forwarded-tcpip":
		var from connection
		if ssh.Unmarshal(n.ExtraData(), &from) != nil || !v.listensAt(from) {
			_ = n.Reject(ssh.Prohibited, "nobody listens there")
			return
		}
		permit, err = v.permitForward(ctx, v.forwarding("connection to", v1alpha1.SSHRemoteForward, from.Host, from.Port))
	case "auth-agent@openssh.com":
		if !v.agent.Load() {
			_ = n.Reject(ssh.Prohibited, "the agent is not there")
			return
		}
		login := v.session.Admission().Request.Login
		permit, err = v.permitForward(ctx, &policy.Command{Engine: Name, Text: []byte("connection to the agent"),
			SSH:     &sshapi.Facts{Known: true, Channel: v1alpha1.SSHAgent, Login: login},
			Context: map[string]string{"login": login, "channel": string(v1alpha1.SSHAgent)}})
	default:
		_ = n.Reject(ssh.UnknownChannelType, "the gate carries no such channel")
		return
	}
	if err != nil {
		_ = n.Reject(ssh.Prohibited, "the gate refuses it")
		return
	}
	client, ours, err := v.conn.ssh.OpenChannel(n.ChannelType(), n.ExtraData())
	if err != nil {
		v.conclude(permit, &recording.Response{Error: "the client does not take it"})
		_ = n.Reject(ssh.ConnectionFailed, "the client does not take it")
		return
	}
	server, theirs, err := n.Accept()
	if err != nil {
		_ = client.Close()
		go ssh.DiscardRequests(ours)
		v.conclude(permit, &recording.Response{Error: "the server has gone"})
		return
	}
	v.couple(ctx, permit, client, ours, server, theirs)
}

func (v *serving) listensAt(c connection) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.listens[place{c.Host, c.Port}]
}
