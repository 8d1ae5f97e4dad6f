package postgres

import (
	"bytes"
	"context"
	"net"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	engpg "github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/test/peers"
)

// against makes a scripted server the target.
func against(s *peers.Server) option {
	return func(g *gate, c *engpg.Config) {
		target := g.input.Targets[0].DeepCopy()
		target.Spec.Postgres.Host, target.Spec.Postgres.Port = "127.0.0.1", int32(s.Port)
		target.Spec.Postgres.TLS = v1alpha1.UpstreamTLS{Mode: v1alpha1.TLSDisable}
		g.input.Targets[0] = target
		c.Limits.SignIn = patience
	}
}

// after answers the first thing the client sends with bytes and then reads on.
func after(answer []byte) peers.Script {
	return func(s *peers.Server, c net.Conn) {
		if _, err := s.Read(c); err != nil {
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
		for {
			if _, err := s.Read(c); err != nil {
				return
			}
		}
	}
}

func join(messages ...[]byte) []byte { return bytes.Join(messages, nil) }

func TestHostileTarget(t *testing.T) {
	m := peers.Message
	row := m('D', "\x00\x01\x00\x00\x00\x011")
	describe := m('T', "\x00\x01c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x19\xff\xff\xff\xff\xff\xff\x00\x00")
	for name, test := range map[string]struct {
		answer []byte
		want   string
	}{
		"an honest one":              {join(describe, row, m('C', "SELECT 1\x00"), m('Z', "I")), "RowDescription DataRow(1) Complete(SELECT 1) Ready(I)"},
		"COPY BOTH":                  {m('W', "\x00\x00\x00"), "FATAL(08006 CDA-1008"},
		"a function's answer":        {m('V', "\x00\x00\x00\x00"), "FATAL(08006 CDA-1008"},
		"authentication again":       {m('R', "\x00\x00\x00\x00"), "FATAL(08006 CDA-1008"},
		"a key again":                {m('K', "\x00\x00\x00\x01\x00\x00\x00\x02"), "FATAL(08006 CDA-1008"},
		"ParseComplete":              {m('1', ""), "FATAL(08006 CDA-1008"},
		"an unknown kind":            {m('~', ""), "FATAL(08006 CDA-1008"},
		"a length of zero":           {[]byte{'C', 0, 0, 0, 0}, "FATAL(08006 CDA-1008"},
		"a length of 4 GiB":          {[]byte{'C', 255, 255, 255, 255}, "FATAL(08006 CDA-1008"},
		"a huge description":         {[]byte{'T', 63, 255, 255, 255}, "FATAL(08006 CDA-1008"},
		"a description that lies":    {m('T', "\x7f\xff"), "FATAL("},
		"a row that lies":            {join(describe, m('D', "\x00\x05\x00\x00\x00\x011")), "FATAL(08006 CDA-1008"},
		"ready in no state":          {m('Z', "X"), "FATAL(08006 CDA-1008"},
		"more after ready":           {join(m('C', "SELECT 1\x00"), m('Z', "I"), row), "FATAL(08006 CDA-1008"},
		"another encoding":           {join(m('S', "client_encoding\x00SJIS\x00"), m('C', "SET\x00"), m('Z', "I")), "FATAL(42501 CDA-2003"},
		"other strings":              {join(m('S', "standard_conforming_strings\x00off\x00"), m('C', "SET\x00"), m('Z', "I")), "FATAL(42501 CDA-2003"},
		"a tag without end":          {m('C', "SELECT 1"), "FATAL(08006 CDA-1008"},
		"an error without fields":    {join(m('E', "\x00"), m('Z', "I")), "Ready(I)"},
		"an error of its own accord": {join(m('C', "SELECT 1\x00"), m('Z', "I"), m('E', "SFATAL\x00VFATAL\x00C57P01\x00Mbye\x00\x00")), "FATAL(57P01 bye)"},
	} {
		t.Run(name, func(t *testing.T) {
			s := peers.StartServer(t, nil, after(test.answer))
			g := start(t, nil, against(s))
			fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), "postgres")
			fe.send(query("select 1"))
			got := fe.untilReady()
			if strings.HasPrefix(test.want, "FATAL") && !strings.HasSuffix(got, "closed") {
				got += " " + fe.until("FATAL")
			}
			if !strings.Contains(got, test.want) {
				t.Errorf("got %s", got)
			}
		})
	}
	t.Run("on a target with masks", func(t *testing.T) {
		for name, answer := range map[string][]byte{
			"rows at once":           join(describe, row),
			"rows for BEGIN":         join(m('1', ""), m('t', "\x00\x00"), describe, row),
			"an error that tells":    join(m('E', "SERROR\x00VERROR\x00C22P02\x00M123-45-6789\x00D123-45-6789\x00\x00"), m('Z', "I")),
			"a notice that tells":    join(m('N', "SNOTICE\x00VNOTICE\x00C00000\x00M123-45-6789\x00\x00"), m('C', "BEGIN\x00"), m('Z', "T")),
			"a notification":         join(m('A', "\x00\x00\x00\x01news\x00123-45-6789\x00"), m('C', "BEGIN\x00"), m('Z', "T")),
			"a parameter that tells": join(m('S', "x.y\x00123-45-6789\x00"), m('C', "BEGIN\x00"), m('Z', "T")),
		} {
			t.Run(name, func(t *testing.T) {
				s := peers.StartServer(t, nil, after(answer))
				g := start(t, nil, against(s), masking(keepLast4(), "*.*.ssn"))
				fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), "postgres")
				fe.send(query("begin"))
				got := fe.untilReady()
				if strings.Contains(got, "DataRow") || strings.Contains(got, "123-45-6789") {
					t.Errorf("got %s", got)
				}
				noSecret(t, "recording", g.events(t))
			})
		}
	})
	t.Run("at sign-in", func(t *testing.T) {
		for name, hello := range map[string][]byte{
			"no PostgreSQL":            []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
			"a password in clear text": m('R', "\x00\x00\x00\x03"),
			"an MD5 password":          m('R', "\x00\x00\x00\x05abcd"),
			"Kerberos":                 m('R', "\x00\x00\x00\x07"),
			"SCRAM of another kind":    m('R', "\x00\x00\x00\x0aSCRAM-MD5\x00\x00"),
			"SCRAM out of turn":        m('R', "\x00\x00\x00\x0cv=x"),
			"nothing":                  {},
			"notices without end":      bytes.Repeat(m('N', "SNOTICE\x00\x00"), 1000),
			"a huge message":           {'S', 63, 0, 0, 0},
			"a refusal that tells":     m('E', "SFATAL\x00VFATAL\x00C28P01\x00Mpassword of user secretlogin\x00\x00"),
			"old strings":              join(m('R', "\x00\x00\x00\x00"), m('S', "standard_conforming_strings\x00off\x00"), m('S', "client_encoding\x00UTF8\x00"), m('Z', "I")),
		} {
			t.Run(name, func(t *testing.T) {
				s := peers.StartServer(t, hello, func(s *peers.Server, c net.Conn) {
					for {
						if _, err := s.Read(c); err != nil {
							return
						}
					}
				})
				g := start(t, nil, against(s), func(g *gate, c *engpg.Config) {
					c.Limits.SignIn = 2 * time.Second
					g.login.Username, g.login.Password = "secretlogin", "secretpassword"
				})
				_, err := pgx.Connect(context.Background(), g.uri(g.grant("agent", v1alpha1.AccessFull), "postgres", ""))
				if sqlState(err) != "08006" || !strings.Contains(err.Error(), "CDA-1008") || strings.Contains(err.Error(), "secretlogin") {
					t.Errorf("err = %v", err)
				}
				if strings.Contains(s.Sent(), "secretpassword") || strings.Contains(s.Sent(), "md5") {
					t.Error("the password was sent")
				}
			})
		}
		for version, refused := range map[string]bool{"13.4": true, "14.0": false, "18.1": false, "19.0": true, "18beta1": true, "180.1": true, "": true} {
			t.Run("version "+version, func(t *testing.T) {
				s := peers.StartServer(t, peers.Hello(version), after(nil))
				g := start(t, nil, against(s), masking(keepLast4(), "*.*.ssn"))
				c, err := pgx.Connect(context.Background(), g.uri(g.grant("agent", v1alpha1.AccessFull), "postgres", ""))
				if err == nil {
					c.Close(context.Background())
				}
				told := err != nil && sqlState(err) == "57P03" && strings.Contains(err.Error(), "CDA-1007: the target's PostgreSQL version is not one that masking was tested with")
				if refused != (err != nil) || refused != told {
					t.Errorf("err = %v", err)
				}
			})
		}
	})
	t.Run("a flood of notices", func(t *testing.T) {
		s := peers.StartServer(t, nil, func(s *peers.Server, c net.Conn) {
			_, _ = s.Read(c)
			flood := bytes.Repeat(m('N', "SNOTICE\x00C00000\x00M"+strings.Repeat("x", 1000)+"\x00\x00"), 64)
			for range 2000 {
				if _, err := c.Write(flood); err != nil {
					return
				}
			}
			_, _ = c.Write(join(m('C', "SELECT 1\x00"), m('Z', "I")))
			_, _ = s.Read(c)
		})
		g := start(t, nil, against(s), masking(keepLast4(), "*.*.ssn"))
		fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), "postgres")
		defer debug.SetGCPercent(debug.SetGCPercent(10)) // what is garbage does not count
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		fe.send(query("begin"))
		if got := fe.untilReady(); got != "Complete(SELECT 1) Ready(I)" {
			t.Errorf("got %s", got)
		}
		runtime.ReadMemStats(&after)
		if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 64<<20 {
			t.Errorf("the heap grew by %d MiB", grown>>20)
		}
	})
	t.Run("a target that stalls inside a message is left", func(t *testing.T) {
		s := peers.StartServer(t, nil, after([]byte{'C', 0, 0, 0, 100, 'S'}))
		g := start(t, nil, against(s))
		fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), "postgres")
		fe.send(query("select 1"))
		eventually(t, "the statement is there", func() bool { return strings.Contains(s.Sent(), "select 1") })
		fe.h.Conn.Close()
		_ = g.over(t)
	})
}
