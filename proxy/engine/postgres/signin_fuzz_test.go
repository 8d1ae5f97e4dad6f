package postgres

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

// FuzzCancel looks for a request to cancel that cancels without the key.
func FuzzCancel(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 1, 1, 2, 3, 4})
	f.Add(append([]byte{0x12, 0x34, 0, 1}, make([]byte, maxSecret)...))
	f.Add(append([]byte{0x12, 0x34, 0, 1}, make([]byte, maxSecret+1)...))
	f.Fuzz(func(t *testing.T, body []byte) {
		pid, secret, ok := parseCancel(body)
		if !ok {
			return
		}
		if len(secret) < secretSize30 || len(secret) > maxSecret {
			t.Fatalf("a secret of %d bytes", len(secret))
		}
		cancelled := false
		c := newCancels(rand.Reader, 0x1234)
		own, right, err := c.add(secretSize32, func(context.Context) { cancelled = true })
		if err != nil {
			t.Fatal(err)
		}
		c.cancel(context.Background(), pid, secret)
		c.cancel(context.Background(), own, secret)
		if cancelled && !bytes.Equal(secret, right) {
			t.Fatal("a session is cancelled without its key")
		}
	})
}

// FuzzPlain sends what a client might before TLS: it gets in by none of it.
func FuzzPlain(f *testing.F) {
	f.Add([]byte{0, 0, 0, 8, 4, 210, 22, 47})
	f.Add([]byte{0, 0, 0, 8, 4, 210, 22, 48, 0, 0, 0, 8, 4, 210, 22, 48, 0, 0, 0, 8, 4, 210, 22, 47})
	f.Add([]byte{0, 0, 0, 16, 4, 210, 22, 46, 0, 0, 0, 1, 1, 2, 3, 4})
	f.Add([]byte("\x00\x00\x00\x14\x00\x03\x00\x00user\x00agent\x00\x00"))
	f.Add([]byte("\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		e := &Engine{c: Config{TLS: nil, Now: time.Now}, cancels: newCancels(rand.Reader, 0)}
		if bytes.Contains(in, []byte{4, 210, 22, 47}) || bytes.HasPrefix(in, []byte{recordHandshake}) {
			return // TLS is for the standard library's own fuzzers
		}
		client, server := net.Pipe()
		defer client.Close()
		go func() { _, _ = client.Write(in); client.Close() }()
		go func() { _, _ = io.Copy(io.Discard, client) }()
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if c, err := e.Handshake(ctx, server); err == nil || c != nil {
			t.Fatal("a client without TLS is let in")
		}
	})
}

// FuzzSCRAMClient plays a target that does not know the password: whatever it says, it is
// found out.
func FuzzSCRAMClient(f *testing.F) {
	f.Add("r=NONCEx,s=c2FsdA==,i=4096", "v=AAAA")
	f.Add("r=NONCEx,s=c2FsdA==,i=1048577", "v=")
	f.Add("r=NONCE,s=,i=1", "e=other-error")
	f.Fuzz(func(t *testing.T, first, final string) {
		c := &scramClient{password: "secret", unoffered: true}
		if _, err := c.first(rand.Reader); err != nil {
			t.Fatal(err)
		}
		if _, count, ok := strings.Cut(first, ",i="); ok && len(count) > 4 {
			return // what is slow is not what is looked for
		}
		answer, err := c.final(strings.ReplaceAll(first, "NONCE", c.nonce))
		if err == nil && (strings.Contains(answer, "secret") || !strings.HasPrefix(answer, "c=eSws,r="+c.nonce)) {
			t.Fatalf("the answer is %q", answer)
		}
		if c.verify(final) == nil {
			t.Fatal("a target that does not know the password is believed")
		}
	})
}

// FuzzOptions looks for command-line options that make a setting other than they say.
func FuzzOptions(f *testing.F) {
	f.Add(`-c a=b --c-d=e\ f`)
	f.Add(`-c`)
	f.Fuzz(func(t *testing.T, options string) {
		list, ok := optionSettings(options)
		if len(list) > maxParameters {
			t.Fatalf("%d settings", len(list))
		}
		for _, p := range list {
			if ok && (p.name == "" || strings.ContainsAny(p.name, "=-")) {
				t.Fatalf("a setting %q", p.name)
			}
		}
	})
}

// FuzzUpstream plays a target during sign-in without TLS: it never gets the password.
func FuzzUpstream(f *testing.F) {
	f.Add([]byte("R\x00\x00\x00\x08\x00\x00\x00\x03"))
	f.Add([]byte("R\x00\x00\x00\x0c\x00\x00\x00\x05salt"))
	f.Add([]byte("R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00R\x00\x00\x00\x08\x00\x00\x00\x0b"))
	f.Add([]byte("R\x00\x00\x00\x08\x00\x00\x00\x00S\x00\x00\x00\x08a\x00b\x00K\x00\x00\x00\x0c\x00\x00\x00\x01\x01\x02\x03\x04Z\x00\x00\x00\x05I"))
	f.Add([]byte("E\x00\x00\x00\x0eC28P01\x00Mx\x00\x00"))
	// Neither half of an AuthenticationOk is one, and who is not idle at first is not ready.
	f.Add([]byte("R\x00\x00\x00\x04Z\x00\x00\x00\x05I"))
	f.Add([]byte("R\x00\x00\x00\x09\x00\x00\x00\x00\x00Z\x00\x00\x00\x05I"))
	f.Add([]byte("R\x00\x00\x00\x08\x00\x00\x00\x00Z\x00\x00\x00\x05\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		client, server := net.Pipe()
		defer server.Close()
		sent := make(chan []byte, 1)
		go func() { _, _ = server.Write(in); server.Close() }()
		go func() {
			b, _ := io.ReadAll(server)
			sent <- b
		}()
		u := &upstream{conn: client, in: newFrames(client)}
		login := session.Login{Username: "gate", Password: "hunter2hunter2"}
		err := u.signIn(&Engine{c: Config{Random: rand.Reader}}, login, "postgres", nil)
		client.Close()
		b := <-sent
		// A PasswordMessage of the length of an MD5 answer; the random nonce of SCRAM may well spell md5.
		if bytes.Contains(b, []byte(login.Password)) || bytes.Contains(b, []byte("p\x00\x00\x00(md5")) {
			t.Fatal("the target gets a password without TLS")
		}
		if err != nil && (strings.Contains(err.Error(), login.Password) || failureOf(err, duringSignIn) == nil) {
			t.Fatalf("err = %v", err)
		}
		if err == nil && (u.status != 'I' || !bytes.Contains(in, []byte("R\x00\x00\x00\x08\x00\x00\x00\x00"))) {
			t.Fatal("a target that was never ready is taken for one that is")
		}
	})
}

// The refusal of a target that asks for what the login has not says so.
func TestLoginWithoutPassword(t *testing.T) {
	for name, in := range map[string]string{
		"clear text": "R\x00\x00\x00\x08\x00\x00\x00\x03", "MD5": "R\x00\x00\x00\x0c\x00\x00\x00\x05salt",
		"SCRAM": "R\x00\x00\x00\x17\x00\x00\x00\x0aSCRAM-SHA-256\x00\x00",
	} {
		client, server := net.Pipe()
		go func() { _, _ = server.Write([]byte(in)) }()
		go func() { _, _ = io.Copy(io.Discard, server) }()
		u := &upstream{conn: client, in: newFrames(client), secure: true}
		err := u.authenticate(&Engine{}, session.Login{Username: "gate"})
		if err == nil || !strings.Contains(err.Error(), "the login has none") {
			t.Errorf("%s: %v", name, err)
		}
		if target := (*errTarget)(nil); !errors.As(err, &target) || target.refusal().Code != policy.CodeUpstream {
			t.Errorf("%s: %v is not the target's fault", name, err)
		}
		client.Close()
		server.Close()
	}
}
