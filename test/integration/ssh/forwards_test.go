package ssh

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"

	"github.com/cardea-dev/cardea/test/ports"
	"github.com/cardea-dev/cardea/test/sshtest"
)

// connection and place are what forwards are asked for by (RFC 4254, sections 7.1 and 7.2).
type connection struct {
	Host       string
	Port       uint32
	OriginHost string
	OriginPort uint32
}

type place struct {
	Host string
	Port uint32
}

// echo listens on both loopback addresses, and sends back what it is sent.
func echo(t *testing.T) uint32 {
	t.Helper()
	port := take(t)
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		l, err := net.Listen("tcp", fmt.Sprintf("%s:%d", host, port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { _, _ = io.Copy(c, c); _ = c.Close() }()
			}
		}()
	}
	return port
}

func take(t *testing.T) uint32 {
	t.Helper()
	port, err := ports.Take()
	if err != nil {
		t.Fatal(err)
	}
	return uint32(port) //nolint:gosec // a port
}

// forward opens a connection by the server.
func forward(c *ssh.Client, host string, port uint32) (ssh.Channel, error) {
	ch, requests, err := c.OpenChannel("direct-tcpip", ssh.Marshal(connection{host, port, "127.0.0.1", 1}))
	if err == nil {
		go ssh.DiscardRequests(requests)
	}
	return ch, err
}

// comesBack reports whether what is sent comes back.
func comesBack(t *testing.T, c io.ReadWriter) {
	t.Helper()
	if _, err := io.WriteString(c, "there and back"); err != nil {
		t.Error(err)
	}
	got := make([]byte, len("there and back"))
	if _, err := io.ReadFull(c, got); err != nil || string(got) != "there and back" {
		t.Errorf("got %q: %v", got, err)
	}
}

// TestG4LocalForwards connects by the server to places that the grant names, and others.
func TestG4LocalForwards(t *testing.T) {
	port := echo(t)
	w := start(t, setup{grant: fmt.Sprintf("channels: [LocalForward]\nforwards: [\"localhost:%d\", \"127.*.1:%d\", \"[::1]:%d\"]", port, port, port)})
	eventually(t, "the server's own test of its port in its log", func() bool { return w.connections(t) > 0 })
	before := w.connections(t)
	c := w.client(t)
	for name, to := range map[string]place{
		"another port": {"localhost", port + 1}, "port 0": {"localhost", 0}, "a port that is that one in 16 bits": {"localhost", port + 1<<16},
		"another host": {"127.0.0.2", port}, "the same by another name": {"localhost.", port}, "another address of it": {"::ffff:127.0.0.2", port},
		"no host": {"", port}, "all hosts": {"*", port}, "a glob": {"127.*.1", port}, "a space": {"localhost ", port}, "NUL": {"localhost\x00", port},
		"brackets": {"[::1]", port}, "a port in the host": {fmt.Sprintf("localhost:%d", port), port}, "a long name": {strings.Repeat("x", 10_000), port},
		"metadata": {"169.254.169.254", 80},
	} {
		_, err := forward(c, to.Host, to.Port)
		if refused := new(ssh.OpenChannelError); !errors.As(err, &refused) || refused.Reason != ssh.Prohibited || !strings.Contains(refused.Message, "CDA-") {
			t.Errorf("%s: got %v", name, err)
		}
	}
	// Channels and requests that there are none of.
	for _, kind := range []string{"direct-streamlocal@openssh.com", "forwarded-tcpip", "x11", "tun@openssh.com", "auth-agent@openssh.com", "session\x00", ""} {
		_, _, err := c.OpenChannel(kind, ssh.Marshal(connection{"/run/docker.sock", 0, "", 0}))
		if refused := new(ssh.OpenChannelError); !errors.As(err, &refused) || refused.Reason != ssh.UnknownChannelType {
			t.Errorf("channel %q: got %v", kind, err)
		}
	}
	for _, kind := range []string{"streamlocal-forward@openssh.com", "hostkeys-prove-00@openssh.com", "unknown@example.com"} {
		if ok, _, err := c.SendRequest(kind, true, ssh.Marshal(struct{ Path string }{"/tmp/x"})); ok || err != nil {
			t.Errorf("request %q: got %v, %v", kind, ok, err)
		}
	}
	if _, _, err := c.OpenChannel("direct-tcpip", []byte{0, 0}); err == nil {
		t.Error("a request cut short is taken")
	}
	if ok, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(place{"localhost", port})); ok || err != nil {
		t.Errorf("listening without the channel: %v, %v", ok, err)
	}
	if after := w.connections(t); after != before {
		t.Errorf("the server was connected to %d times", after-before)
	}
	for name, to := range map[string]place{
		"as it is written": {"localhost", port}, "letter case": {"LocalHost", port}, "a glob": {"127.0.0.1", port}, "IPv6": {"::1", port},
	} {
		t.Run(name, func(t *testing.T) {
			ch, err := forward(c, to.Host, to.Port)
			if err != nil {
				t.Fatal(err)
			}
			comesBack(t, ch)
			_ = ch.CloseWrite()
			if rest, err := io.ReadAll(ch); err != nil || len(rest) > 0 {
				t.Errorf("at the end: %q, %v", rest, err)
			}
		})
	}
	// The other side of G2: what is open is closed.
	ch, err := forward(c, "localhost", port)
	if err != nil {
		t.Fatal(err)
	}
	comesBack(t, ch)
	w.edit(t, "reason: a test", "reason: a test\n  desiredState: Revoked")
	_, _ = io.Copy(io.Discard, ch)
	if err := c.Wait(); err == nil {
		t.Error("the connection lives on")
	}
}

// TestG4RemoteForwards has the server listen at places that the grant names, and others.
func TestG4RemoteForwards(t *testing.T) {
	port, second, foreign, to := take(t), take(t), take(t), echo(t)
	w := start(t, setup{grant: fmt.Sprintf("channels: [Exec, RemoteForward]\nlistens: [\"127.0.0.1:%d\", \"127.0.0.1:%d\"]", port, second)})
	// One is granted, for which the gate connects first, and the next is refused: each has its
	// own answer.
	remote := func(port uint32) string { return fmt.Sprintf("127.0.0.1:%d:127.0.0.1:%d", port, to) }
	got := w.run(t, "", "ssh", "-R", remote(port), "-R", remote(foreign), "-R", remote(second), "host", "echo in")
	if want := fmt.Sprintf("Warning: remote port forwarding failed for listen port %d\r\n", foreign); got.Stdout != "in\n" || got.Stderr != want {
		t.Errorf("got %+v, want %q", got, want)
	}
	c := w.client(t)
	for name, at := range map[string]place{"another port": {"127.0.0.1", foreign}, "any port": {"127.0.0.1", 0}, "all addresses": {"", port}, "all of IPv4": {"0.0.0.0", port},
		"a glob": {"*", port}, "another name": {"localhost", port}, "16 bits": {"127.0.0.1", port + 1<<16}} {
		if ok, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(at)); ok || err != nil {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	if ok, _, err := c.SendRequest("cancel-tcpip-forward", true, ssh.Marshal(place{"127.0.0.1", port})); ok || err != nil {
		t.Errorf("ending what did not begin: %v, %v", ok, err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	listens := func() bool {
		c, err := net.DialTimeout("tcp", address, patience)
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}
	listen := func(c *ssh.Client) net.Listener {
		l, err := c.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	l := listen(c)
	if ok, _, err := c.SendRequest("tcpip-forward", true, ssh.Marshal(place{"127.0.0.1", port})); ok || err != nil {
		t.Errorf("listening twice: %v, %v", ok, err)
	}
	go func() {
		if in, err := l.Accept(); err == nil {
			_, _ = io.Copy(in, in)
			_ = in.Close()
		}
	}()
	out, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	comesBack(t, out)
	_ = out.Close()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	eventually(t, "the server to listen no more", func() bool { return !listens() })
	listen(c)
	w.edit(t, "reason: a test", "reason: a test\n  desiredState: Revoked")
	eventually(t, "the server to listen no more once the grant is revoked", func() bool { return !listens() })
}

// TestAgent reaches the client's agent from the server, where grant and Target permit it.
func TestAgent(t *testing.T) {
	for name, tc := range map[string]struct {
		target, grant string
		want          bool
	}{
		"both permit it":         {"\nagentForwarding: Permitted", "channels: [Exec, Agent]", true},
		"the Target alone":       {"\nagentForwarding: Permitted", "channels: [Exec]", false},
		"neither of them permit": {"", "channels: [Exec]", false},
	} {
		t.Run(name, func(t *testing.T) {
			w := start(t, setup{target: "hostKeys: [\"HOSTKEY\"]\nuserCA: {secretRef: {name: key}}" + tc.target, grant: tc.grant})
			c := w.client(t)
			keys := agent.NewKeyring()
			_, block := sshtest.NewKey(t)
			key, err := ssh.ParseRawPrivateKey(block)
			if err != nil {
				t.Fatal(err)
			}
			if err := keys.Add(agent.AddedKey{PrivateKey: key, Comment: "of-the-client"}); err != nil {
				t.Fatal(err)
			}
			if err := agent.ForwardToAgent(c, keys); err != nil {
				t.Fatal(err)
			}
			s, err := c.NewSession()
			if err != nil {
				t.Fatal(err)
			}
			if err := agent.RequestAgentForwarding(s); (err == nil) != tc.want {
				t.Errorf("asked for the agent: %v", err)
			}
			out, _ := s.Output("ssh-add -l")
			if got := strings.Contains(string(out), "of-the-client"); got != tc.want {
				t.Errorf("the server sees %q", out)
			}
		})
	}
}

// TestIdleForward ends a session in which a forward is open and nothing is sent.
func TestIdleForward(t *testing.T) {
	t.Parallel()
	port := echo(t)
	w := start(t, setup{spec: "idleTimeout: 10s", grant: fmt.Sprintf("channels: [LocalForward]\nforwards: [\"localhost:%d\"]", port)})
	ch, err := forward(w.client(t), "localhost", port)
	if err != nil {
		t.Fatal(err)
	}
	comesBack(t, ch)
	over := make(chan struct{})
	go func() { _, _ = io.Copy(io.Discard, ch); close(over) }()
	select {
	case <-over:
	case <-time.After(patience):
		t.Error("the forward lives on")
	}
}
