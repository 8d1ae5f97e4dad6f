package ssh

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/cardea-dev/cardea/test/sshtest"
)

// offer is the message by which both sides begin (RFC 4253, section 7.1).
type offer struct {
	Cookie                        [16]byte `sshtype:"20"`
	KeyExchanges, HostKeys        []string
	CiphersOut, CiphersIn         []string
	MACsOut, MACsIn               []string
	CompressionOut, CompressionIn []string
	LanguagesOut, LanguagesIn     []string
	FirstFollows                  bool
	Reserved                      uint32
}

const (
	strictClient = "kex-strict-c-v00@openssh.com"
	strictServer = "kex-strict-s-v00@openssh.com"
)

// readPacket reads a packet without encryption (RFC 4253, section 6).
func readPacket(r io.Reader) ([]byte, error) {
	var head [5]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	length, padding := binary.BigEndian.Uint32(head[:4]), uint32(head[4])
	if length > 1<<16 || length < padding+1 {
		return nil, fmt.Errorf("a packet of %d bytes", length)
	}
	body := make([]byte, length-1)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, err
	}
	return body[:length-1-padding], nil
}

// packet makes a packet without encryption.
func packet(payload []byte) []byte {
	padding := 8 - (5+len(payload))%8
	if padding < 4 {
		padding += 8
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(1+len(payload)+padding)) //nolint:gosec // short
	return append(append(append(b, byte(padding)), payload...), make([]byte, padding)...)
}

// readOffer reads a peer's version and what it offers.
func readOffer(c net.Conn) (*offer, *bufio.Reader, error) {
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "SSH-2.0-") {
		return nil, nil, fmt.Errorf("the version is %q: %w", line, err)
	}
	b, err := readPacket(r)
	if err != nil {
		return nil, nil, err
	}
	o := new(offer)
	return o, r, ssh.Unmarshal(b, o)
}

// checkOffer looks for what is weak, and for strict key exchange.
func checkOffer(t *testing.T, o *offer, strict string) {
	t.Helper()
	if !slices.Contains(o.KeyExchanges, strict) {
		t.Errorf("strict key exchange is not offered: %v", o.KeyExchanges)
	}
	for _, list := range [][]string{o.KeyExchanges, o.HostKeys, o.CiphersOut, o.CiphersIn, o.MACsOut, o.MACsIn} {
		if len(list) == 0 {
			t.Errorf("something is offered by no name: %+v", o)
		}
		for _, name := range list {
			for _, weak := range []string{"sha1", "dss", "cbc", "3des", "arcfour", "rc4", "md5", "-96", "group1-", "group14", "exchange", "chacha20", "none", "umac"} {
				if strings.Contains(name, weak) {
					t.Errorf("%s is offered", name)
				}
			}
			if strings.HasPrefix(name, "ssh-rsa") {
				t.Errorf("%s is offered", name)
			}
		}
	}
	if want := []string{"none"}; !slices.Equal(o.CompressionIn, want) || !slices.Equal(o.CompressionOut, want) {
		t.Errorf("compression %v and %v is offered", o.CompressionIn, o.CompressionOut)
	}
}

// peer stands in for the Target's server: it serves each connection by a function.
type peer struct {
	port int
	// asked is how many clients have tried to sign in.
	asked atomic.Int32
}

func newPeer(t *testing.T, serve func(*peer, net.Conn)) *peer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{port: l.Addr().(*net.TCPAddr).Port}
	var serving sync.WaitGroup
	var mu sync.Mutex
	open := map[net.Conn]bool{}
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[c] = true
			mu.Unlock()
			serving.Go(func() { serve(p, c); _ = c.Close() })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range open {
			_ = c.Close()
		}
		mu.Unlock()
		serving.Wait()
	})
	return p
}

// impostor serves SSH with a host key, and notes who tries to sign in.
func impostor(host ssh.Signer) func(*peer, net.Conn) {
	return func(p *peer, c net.Conn) {
		config := &ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
			p.asked.Add(1)
			return nil, nil
		}, AuthLogCallback: func(ssh.ConnMetadata, string, error) { p.asked.Add(1) }}
		config.AddHostKey(host)
		if s, _, _, err := ssh.NewServerConn(c, config); err == nil {
			_ = s.Close()
		}
	}
}

// drain reads until the other side closes.
func drain(_ *peer, c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// TestG1TransportOfClients looks at what the gate offers as a server, and that who would tamper with
// what is sent is not spoken to.
func TestG1TransportOfClients(t *testing.T) {
	w := start(t, setup{})
	dial := func(t *testing.T) net.Conn {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", w.port))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		return c
	}
	t.Run("algorithms", func(t *testing.T) {
		c := dial(t)
		if _, err := c.Write([]byte("SSH-2.0-test\r\n")); err != nil {
			t.Fatal(err)
		}
		o, _, err := readOffer(c)
		if err != nil {
			t.Fatal(err)
		}
		checkOffer(t, o, strictServer)
	})
	// CVE-2023-48795: a message before the keys are in use moves the sequence numbers.
	for name, at := range map[string]int{"an IGNORE before KEXINIT": 0, "an IGNORE after KEXINIT": 1, "nothing more": -1} {
		t.Run(name, func(t *testing.T) {
			c := dial(t)
			if _, err := c.Write([]byte("SSH-2.0-test\r\n")); err != nil {
				t.Fatal(err)
			}
			o, r, err := readOffer(c)
			if err != nil {
				t.Fatal(err)
			}
			o.KeyExchanges = []string{"curve25519-sha256", strictClient}
			if err := tamper(c, o, at); err != nil {
				t.Fatal(err)
			}
			b, err := readPacket(r)
			if replies := err == nil && b[0] == 31; replies != (at < 0) { // the reply to the key exchange
				t.Errorf("the gate goes on: %v; %v", replies, err)
			}
		})
	}
	t.Run("half-open", func(t *testing.T) {
		// More than one source may have waiting, of each kind.
		var open []net.Conn
		for range 100 {
			for _, says := range []string{"", "SSH-2.0-slow", "SSH-2.0-test\r\n"} {
				c := dial(t)
				_, _ = c.Write([]byte(says))
				open = append(open, c)
			}
		}
		for range 4 {
			c := dial(t)
			go func() {
				for {
					if _, err := c.Write([]byte(strings.Repeat("x", 50) + "\n")); err != nil {
						return
					}
				}
			}()
		}
		if got := w.ssh(t, "echo in"); got.Stdout != "in\n" {
			t.Errorf("an honest client sees %+v", got)
		}
		for _, c := range open {
			_ = c.Close()
		}
	})
}

// tamper sends an offer, and a beginning of key exchange; before the message at that position,
// from zero, an IGNORE.
func tamper(c net.Conn, o *offer, at int) error {
	point := make([]byte, 32)
	point[0] = 9
	messages := [][]byte{packet(ssh.Marshal(o)), packet(append([]byte{30}, ssh.Marshal(struct{ Public []byte }{point})...))}
	if at >= 0 {
		messages = slices.Insert(messages, at, packet(append([]byte{2}, ssh.Marshal(struct{ Data string }{"x"})...)))
	}
	for _, m := range messages {
		if _, err := c.Write(m); err != nil {
			return err
		}
	}
	return nil
}

// TestG1TransportOfServers has the gate meet servers that are not the Target, or are broken:
// the client is told in a sentence, and the server is given nothing.
func TestG1TransportOfServers(t *testing.T) {
	t.Parallel()
	host, _ := sshtest.NewKey(t)
	other, _ := sshtest.NewKey(t)
	authority, _ := sshtest.NewKey(t)
	line := func(s ssh.Signer) string { return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(s.PublicKey()))) }
	pinned, ca := fmt.Sprintf("hostKeys: [%q]", line(host)), fmt.Sprintf("hostCAs: [%q]", line(authority))
	certificate := func(by ssh.Signer, change func(*ssh.Certificate)) ssh.Signer {
		c := &ssh.Certificate{Key: host.PublicKey(), CertType: ssh.HostCert, ValidPrincipals: []string{"127.0.0.1"}, ValidBefore: ssh.CertTimeInfinity}
		if change != nil {
			change(c)
		}
		if err := c.SignCert(rand.Reader, by); err != nil {
			t.Fatal(err)
		}
		return certified(t, c, host)
	}
	const unknown, failed = "the server's host key is none that the Target names", "the server cannot be reached"
	for name, tc := range map[string]struct {
		serve func(*peer, net.Conn)
		keys  string
		says  string
		// taken says that the gate takes the server, and shows it its certificate.
		taken bool
	}{
		"the host key":                    {serve: impostor(host), keys: pinned, says: failed, taken: true},
		"a host certificate":              {serve: impostor(certificate(authority, nil)), keys: ca, says: failed, taken: true},
		"another host key":                {serve: impostor(other), keys: pinned, says: unknown},
		"a key where a CA is known":       {serve: impostor(host), keys: ca, says: failed},
		"the CA's own key":                {serve: impostor(authority), keys: ca, says: failed},
		"a certificate of another CA":     {serve: impostor(certificate(other, nil)), keys: ca, says: unknown},
		"a certificate by the host":       {serve: impostor(certificate(host, nil)), keys: ca, says: unknown},
		"a certificate for another host":  {serve: impostor(certificate(authority, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"127.0.0.2"} })), keys: ca, says: unknown},
		"a certificate for no host":       {serve: impostor(certificate(authority, func(c *ssh.Certificate) { c.ValidPrincipals = nil })), keys: ca, says: unknown},
		"a certificate for every host":    {serve: impostor(certificate(authority, func(c *ssh.Certificate) { c.ValidPrincipals = []string{"*"} })), keys: ca, says: unknown},
		"an expired certificate":          {serve: impostor(certificate(authority, func(c *ssh.Certificate) { c.ValidBefore = 1 })), keys: ca, says: unknown},
		"a certificate of a user":         {serve: impostor(certificate(authority, func(c *ssh.Certificate) { c.CertType = ssh.UserCert })), keys: ca, says: unknown},
		"a certificate of the pinned key": {serve: impostor(certificate(other, nil)), keys: pinned, says: failed},
		"an endless banner": {keys: pinned, says: failed, serve: func(_ *peer, c net.Conn) {
			for {
				if _, err := c.Write([]byte("welcome, welcome\r\n")); err != nil {
					return
				}
			}
		}},
		"a line without end": {keys: pinned, says: failed, serve: func(_ *peer, c net.Conn) {
			for {
				if _, err := c.Write([]byte("SSH-2.0-xxxxxxxxxxxxxxxxxxxx")); err != nil {
					return
				}
			}
		}},
		"nothing":                   {keys: pinned, says: failed, serve: drain},
		"a key exchange unfinished": {keys: pinned, says: failed, serve: func(p *peer, c net.Conn) { _, _ = c.Write([]byte("SSH-2.0-test\r\n")); drain(p, c) }},
		"something else":            {keys: pinned, says: failed, serve: func(_ *peer, c net.Conn) { _, _ = c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) }},
		"weak algorithms alone": {keys: pinned, says: failed, serve: func(p *peer, c net.Conn) {
			config := &ssh.ServerConfig{NoClientAuth: true, Config: ssh.Config{Ciphers: []string{"chacha20-poly1305@openssh.com"}}}
			config.AddHostKey(host)
			if s, _, _, err := ssh.NewServerConn(c, config); err == nil {
				p.asked.Add(1)
				_ = s.Close()
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPeer(t, tc.serve)
			w := start(t, setup{port: p.port, target: tc.keys + "\nuserCA: {secretRef: {name: key}}"})
			got := w.ssh(t, "true")
			if got.Code == 0 || !strings.Contains(got.Stderr, "CDA-1008") || !strings.Contains(got.Stderr, tc.says) {
				t.Errorf("got %+v, want CDA-1008 and %q", got, tc.says)
			}
			if asked := p.asked.Load() > 0; asked != tc.taken {
				t.Errorf("the gate tried to sign in: %v, want %v", asked, tc.taken)
			}
		})
	}
	// CVE-2023-48795 on this leg.
	for name, at := range map[string]int{"an IGNORE before KEXINIT": 0, "an IGNORE after KEXINIT": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			offers := make(chan *offer, 1)
			var more atomic.Bool
			p := newPeer(t, func(_ *peer, c net.Conn) {
				_, _ = c.Write([]byte("SSH-2.0-test\r\n"))
				o, r, err := readOffer(c)
				if err != nil {
					return
				}
				select {
				case offers <- o:
				default:
				}
				mine := *o
				mine.KeyExchanges = []string{"curve25519-sha256", strictServer}
				if tamper(c, &mine, at) != nil {
					return
				}
				for {
					b, err := readPacket(r)
					if err != nil {
						return
					}
					if b[0] == 21 { // NEWKEYS
						more.Store(true)
					}
				}
			})
			w := start(t, setup{port: p.port, target: pinned + "\nuserCA: {secretRef: {name: key}}"})
			if got := w.ssh(t, "true"); got.Code == 0 || !strings.Contains(got.Stderr, "CDA-1008") {
				t.Errorf("got %+v", got)
			}
			checkOffer(t, <-offers, strictClient)
			if more.Load() {
				t.Error("the gate goes on to use keys")
			}
		})
	}
}

// TestSetUps runs a command where a Target is set up in its other ways.
func TestSetUps(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]setup{
		"a host certificate": {server: sshtest.Options{Certificate: true}, target: "hostCAs: [\"HOSTCA\"]\nuserCA: {secretRef: {name: key}}"},
		"both":               {server: sshtest.Options{Certificate: true}, target: "hostKeys: [\"HOSTKEY\"]\nhostCAs: [\"HOSTCA\"]\nuserCA: {secretRef: {name: key}}"},
		"a lasting key":      {target: "hostKeys: [\"HOSTKEY\"]\nkey: {secretRef: {name: key}}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := start(t, s).ssh(t, "echo in"); got.Stdout != "in\n" || got.Code != 0 {
				t.Errorf("got %+v", got)
			}
		})
	}
}
