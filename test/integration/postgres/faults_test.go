package postgres

import (
	"encoding/binary"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/peers"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// withLength is a message of the protocol with a length of its own.
func withLength(kind byte, length uint32, body string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, length), body...)
}

// CVE-2024-27304: a length that overflows lets one message be read as several. Lengths out
// of bounds end the connection, and nothing of what follows is read as a message.
func TestCVE202427304LengthsDoNotOverflow(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table t (id int)")
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessFull)
	smuggled := string(smuggled)
	for _, kind := range []byte("QPBEDCHSdcfFp") {
		for _, length := range []uint32{0, 3, 1<<31 - 1, 1 << 31, 1<<31 + 4, 1<<32 - 1} {
			fe := frontend(t, g, c, "postgres")
			if err := fe.bytes(append(withLength(kind, length, ""), smuggled...)); err != nil {
				t.Fatal(err)
			}
			got := fe.until("FATAL")
			if !strings.Contains(got, "FATAL(08P01") {
				t.Errorf("%c with length %d: %s", kind, length, got)
			}
		}
	}
	// Inside a Bind: a count or a length that reaches beyond the message, or is negative.
	for name, body := range map[string]string{
		"a value's length of -2":       "\x00\x00\x00\x00\x00\x01\xff\xff\xff\xfe\x00\x00",
		"a value's length of -2^31":    "\x00\x00\x00\x00\x00\x01\x80\x00\x00\x00\x00\x00",
		"a value of 2 GiB":             "\x00\x00\x00\x00\x00\x01\x7f\xff\xff\xff\x00\x00",
		"65535 values and none":        "\x00\x00\x00\x00\xff\xff",
		"65535 formats and none":       "\x00\x00\xff\xff",
		"65535 result formats, absent": "\x00\x00\x00\x00\x00\x00\xff\xff",
	} {
		fe := frontend(t, g, c, "postgres")
		fe.send(parse("", "select 1"))
		if err := fe.bytes(append(withLength('B', uint32(4+len(body)), body), smuggled...)); err != nil {
			t.Fatal(err)
		}
		if got := fe.until("FATAL"); !strings.Contains(got, "FATAL(08P01") {
			t.Errorf("%s: %s", name, got)
		}
	}
	if strings.Contains(server.Log(t), "smuggled") {
		t.Error("what follows a wrong length reached the target")
	}
}

// CVE-2026-33815 and CVE-2026-33816: decoders that index by a count or length of the other
// side. A target that sends such ends its session and no other.
func TestCVE202633815And33816DecodersDoNotPanic(t *testing.T) {
	m := peers.Message
	for name, answer := range map[string][]byte{
		"a row with a negative length":        m('D', "\x00\x01\x80\x00\x00\x00"),
		"a row with a length of -2":           m('D', "\x00\x01\xff\xff\xff\xfe"),
		"a row with more columns than it has": m('D', "\xff\xff\x00\x00\x00\x011"),
		"an empty row":                        m('D', ""),
		"a description of 65535 columns":      m('T', "\xff\xff"),
		"a description that is cut":           m('T', "\x00\x01c\x00\x00"),
		"an empty description":                m('T', ""),
		"parameters without a count":          m('t', ""),
		"65535 parameters and none":           m('t', "\xff\xff"),
		"COPY with a negative count":          m('H', "\x00\xff\xff"),
		"COPY without a format":               m('G', ""),
		"an empty status":                     m('Z', ""),
		"a long status":                       m('Z', "II"),
		"an unknown status":                   m('Z', "X"),
		"a tag without an end":                m('C', "SELECT 1"),
		"a parameter without a value":         m('S', "x\x00"),
		"an empty notification":               m('A', ""),
		"a field without an end":              m('E', "Mx"),
		"no fields":                           m('N', ""),
	} {
		for _, masked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, masked %t", name, masked), func(t *testing.T) {
				s := peers.StartServer(t, nil, after(answer))
				options := []option{against(s)}
				if masked {
					options = append(options, masking(keepLast4(), "*.*.ssn"))
				}
				g := start(t, nil, options...)
				fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), "postgres")
				fe.send(query("begin"))
				_ = fe.h.Conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
				_ = fe.until("FATAL") // or nothing: it is a message like another, or waits for more
				fe.h.Conn.Close()
				_ = g.over(t)
			})
		}
	}
}

// Statements that overflow the stack of a recursive parser, at every depth, are answered
// and end nothing.
func TestDeepStatementsAreAnswered(t *testing.T) {
	server := pgtest.Start(t)
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessReadOnly)
	fe := frontend(t, g, c, "postgres")
	_ = fe.h.Conn.SetDeadline(time.Now().Add(3 * patience))
	for name, text := range map[string]string{
		"48 KiB of sums":     "select 1" + strings.Repeat("+1", 24<<10),
		"200 KiB of sums":    "select 1" + strings.Repeat("+1", 100<<10),
		"parentheses":        "select " + strings.Repeat("(", 50000) + "1" + strings.Repeat(")", 50000),
		"open parentheses":   "select " + strings.Repeat("(", 200000),
		"arrays":             "select " + strings.Repeat("array[", 20000) + "1" + strings.Repeat("]", 20000),
		"sub-selects":        strings.Repeat("select (", 20000) + "1" + strings.Repeat(")", 20000),
		"not":                "select " + strings.Repeat("not ", 100000) + "true",
		"minus":              "select " + strings.Repeat("- ", 100000) + "1",
		"unions":             "select 1" + strings.Repeat(" union select 1", 20000),
		"case":               "select " + strings.Repeat("case when true then ", 20000) + "1" + strings.Repeat(" end", 20000),
		"casts":              "select 1" + strings.Repeat("::int", 50000),
		"subscripts":         "select a" + strings.Repeat("[1]", 50000),
		"joins":              "select 1 from " + strings.Repeat("(", 20000) + "t" + strings.Repeat(" cross join t)", 20000),
		"comments in depth":  strings.Repeat("/*", 100000) + strings.Repeat("*/", 100000) + " select 1",
		"comments left open": strings.Repeat("/*", 200000),
	} {
		fe.send(query(text))
		if got := fe.untilReady(); !strings.HasSuffix(got, "Ready(I)") || !strings.Contains(got, "ERROR(") && !strings.Contains(got, "Complete(SELECT 1)") {
			t.Errorf("%s: %s", name, got[:min(len(got), 300)])
		}
		fe.send(query("select 'goes on'"))
		if got := fe.untilReady(); !strings.Contains(got, "DataRow(goes on)") {
			t.Fatalf("after %s: %s", name, got)
		}
	}
}

// A comment of 9 MiB before a DELETE: what is too long to be read is not executed.
func TestLongCommentHidesNoStatement(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table orders (id int); insert into orders values (1)")
	g := start(t, server, rule("no-delete", v1alpha1.ActionDeny, "", v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Delete"}}))
	fe := frontend(t, g, g.grant("agent", v1alpha1.AccessFull), "postgres")
	text := "/*" + strings.Repeat("x", 9<<20) + "*/ delete from orders"
	fe.send(query(text))
	if got := fe.untilReady(); !strings.Contains(got, "CDA-") || strings.Contains(got, "DELETE 1") {
		t.Errorf("a query: %s", got)
	}
	fe.send(parse("", text), bind("", "", 0), execute("", 0), sync())
	if got := fe.untilReady(); !strings.Contains(got, "CDA-") || strings.Contains(got, "DELETE 1") {
		t.Errorf("prepared: %s", got)
	}
	if rows := server.Query(t, "postgres", "select count(*) from orders"); rows[0][0] != "1" {
		t.Error("the row is deleted")
	}
}

// Portals with row limits, two of them read in turn, and the client's parameters at their
// limits.
func TestPortalsAndParameters(t *testing.T) {
	server := pgtest.Start(t)
	g := start(t, server)
	c := g.grant("agent", v1alpha1.AccessReadOnly)
	fe := frontend(t, g, c, "postgres")
	t.Run("interleaved", func(t *testing.T) {
		fe.send(query("begin"))
		fe.untilReady()
		fe.send(parse("a", "select 'a' || i from generate_series(1, 3) i"), parse("b", "select 'b' || i from generate_series(1, 3) i"), bind("pa", "a", 0), bind("pb", "b", 0),
			execute("pa", 1), execute("pb", 2), execute("pa", 1), execute("pb", 2), execute("pa", 5), execute("pb", 1), execute("nothing", 1), sync())
		want := "ParseComplete ParseComplete BindComplete BindComplete DataRow(a1) PortalSuspended DataRow(b1) DataRow(b2) PortalSuspended DataRow(a2) PortalSuspended " +
			"DataRow(b3) Complete(SELECT 1) DataRow(a3) Complete(SELECT 1) Complete(SELECT 0) ERROR(34000"
		if got := fe.untilReady(); !strings.HasPrefix(got, want) {
			t.Errorf("got %s", got)
		}
		fe.send(query("rollback"))
		fe.untilReady()
	})
	t.Run("65535 parameters", func(t *testing.T) {
		// One text of parameters alone: it has to be within the bound of a command.
		list := make([]string, 65535)
		for i := range list {
			list[i] = "$" + strconv.Itoa(i+1)
		}
		values := make([]string, 65535)
		for i := range values {
			values[i] = "1"
		}
		fe.send(parse("", "select count(*) from unnest(array["+strings.Join(list, ",")+"]::int[])"), bind("", "", 0, values...), execute("", 0), sync())
		if got := fe.untilReady(); !strings.Contains(got, "DataRow(65535)") {
			t.Errorf("got %s", got[:min(len(got), 300)])
		}
	})
	t.Run("a value of 32 MiB", func(t *testing.T) {
		fe.send(parse("", "select length($1::text)"), bind("", "", 0, strings.Repeat("x", 32<<20)), execute("", 0), sync())
		got := fe.untilReady()
		if !strings.Contains(got, fmt.Sprintf("DataRow(%d)", 32<<20)) && !strings.Contains(got, "ERROR(54000 CDA-1012") {
			t.Errorf("got %s", got[:min(len(got), 300)])
		}
		fe.send(query("select 'goes on'"))
		if got := fe.untilReady(); !strings.Contains(got, "DataRow(goes on)") {
			t.Errorf("got %s", got)
		}
	})
	t.Run("empty queries", func(t *testing.T) {
		fe.send(query(""), query(" ; ; -- x"), parse("", ""), bind("", "", 0), &pgproto3.Describe{ObjectType: 'P'}, execute("", 0), sync())
		if got := fe.untilReady() + " " + fe.untilReady() + " " + fe.untilReady(); got != "EmptyQueryResponse Ready(I) EmptyQueryResponse Ready(I) ParseComplete BindComplete NoData EmptyQueryResponse Ready(I)" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("COPY that fails in its middle, both ways", func(t *testing.T) {
		fe.send(query("copy (select 1/(50000 - i) from generate_series(1, 100000) i) to stdout"))
		if got := fe.untilReady(); !strings.Contains(got, "CopyData") || !strings.Contains(got, "ERROR(22012") || !strings.HasSuffix(got, "Ready(I)") {
			t.Errorf("got %s", got[max(0, len(got)-300):])
		}
		rw := frontend(t, g, g.grant("writer", v1alpha1.AccessFull), "postgres")
		rw.send(query("create temp table t (i int)"))
		rw.untilReady()
		rw.send(query("copy t from stdin"))
		rw.until("CopyInResponse")
		for range 200 {
			rw.send(&pgproto3.CopyData{Data: []byte(strings.Repeat("1\n", 1000) + "x\n")})
		}
		rw.send(&pgproto3.CopyFail{Message: "enough"})
		if got := rw.untilReady(); !strings.Contains(got, "ERROR(") || !strings.HasSuffix(got, "Ready(I)") {
			t.Errorf("got %s", got)
		}
	})
}

// Bytes that are no text, in every field of text that a client sends.
func TestBytesThatAreNoText(t *testing.T) {
	server := pgtest.Start(t)
	for name, options := range map[string][]option{"plain": nil, "masked": {masking(keepLast4(), "*.*.ssn")}} {
		t.Run(name, func(t *testing.T) {
			g := start(t, server, options...)
			c := g.grant("agent", v1alpha1.AccessReadOnly)
			for _, bad := range []string{"\xff\xfe", "\xc0\x80", "\xed\xa0\x80", "\xf8\x88\x80\x80\x80", "a\xe2\x82"} {
				for field, messages := range map[string][]pgproto3.FrontendMessage{
					"query":          {query("select '" + bad + "'")},
					"text":           {parse("", "select '"+bad+"'"), sync()},
					"statement name": {parse(bad, "select 1"), bind("", bad, 0), execute("", 0), sync()},
					"portal name":    {parse("", "select 1"), bind(bad, "", 0), execute(bad, 0), sync()},
					"value":          {parse("", "select $1::text"), bind("", "", 0, bad), execute("", 0), sync()},
					"close":          {&pgproto3.Close{ObjectType: 'S', Name: bad}, sync()},
					"describe":       {&pgproto3.Describe{ObjectType: 'S', Name: bad}, sync()},
				} {
					fe := frontend(t, g, c, "postgres")
					fe.send(messages...)
					if got := fe.until("Ready"); !strings.Contains(got, "Ready(I)") && !strings.Contains(got, "FATAL(") {
						t.Errorf("%s %q: %s", field, bad, got)
					}
				}
			}
			_ = g.events(t) // what was recorded is JSON
		})
	}
	t.Run("NUL", func(t *testing.T) {
		g := start(t, server)
		fe := frontend(t, g, g.grant("agent", v1alpha1.AccessReadOnly), "postgres")
		if err := fe.bytes(withLength('Q', 4+20, "select 1\x00 drop me\x00\x00\x00")); err != nil {
			t.Fatal(err)
		}
		if got := fe.until("FATAL"); !strings.Contains(got, "FATAL(08P01") || strings.Contains(server.Log(t), "drop me") {
			t.Errorf("got %s", got)
		}
	})
}

// A client that asks for more than it reads holds back the target, not the memory of the
// gate, and is cut with the grant like any other.
func TestClientThatNeverReads(t *testing.T) {
	server := pgtest.Start(t)
	g := start(t, server)
	fe := frontend(t, g, g.grant("agent", v1alpha1.AccessReadOnly), "postgres")
	if err := fe.h.Conn.SetDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	fe.send(query("select repeat('x', 1000) from generate_series(1, 1000000)"))
	stalled := func() bool {
		rows := server.Query(t, "postgres", "select 1 from pg_stat_activity where query like '%repeat%' and wait_event = 'ClientWrite'")
		return len(rows) == 1
	}
	eventually(t, "the target waits for the client", stalled)
	other := frontend(t, g, g.grant("other", v1alpha1.AccessReadOnly), "postgres")
	other.send(query("select 'served'"))
	if got := other.untilReady(); !strings.Contains(got, "DataRow(served)") {
		t.Errorf("another client: %s", got)
	}
	if c, ok := fe.h.Conn.(interface{ NetConn() net.Conn }); ok {
		_ = c.NetConn().Close()
	}
	_ = g.over(t)
	eventually(t, "the statement is cancelled", func() bool { return !stalled() })
}

// A result without columns has rows that no analysis establishes: it is refused, and the
// session goes on.
func TestResultWithoutColumnsEndsNothing(t *testing.T) {
	g := start(t, pgtest.Start(t), masking(keepLast4(), "*.*.ssn"))
	fe := frontend(t, g, g.grant("agent", v1alpha1.AccessReadOnly), "postgres")
	for _, text := range []string{"select", "select union select"} {
		fe.send(query(text))
		if got := fe.untilReady(); !strings.Contains(got, "CDA-2004") || !strings.HasSuffix(got, "Ready(I)") {
			t.Errorf("%s: %s", text, got)
		}
		fe.send(parse("", text), bind("", "", 0), execute("", 0), sync())
		if got := fe.untilReady(); !strings.Contains(got, "CDA-2004") || !strings.HasSuffix(got, "Ready(I)") {
			t.Errorf("%s, prepared: %s", text, got)
		}
	}
	fe.send(query("select 'goes on'"))
	if got := fe.untilReady(); !strings.Contains(got, "DataRow(goes on)") {
		t.Errorf("got %s", got)
	}
}
