package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

var (
	sequences = flag.Int("sequences", 40, "how many generated sequences of messages TestStateMachine sends")
	sequence  = flag.Uint64("sequence", 1, "the first of the generated sequences")
)

// letter is a message that a client may send at any time.
type letter struct {
	name string
	send []byte
	// closes: it may end the connection wherever it stands.
	closes bool
	// extended: a pipeline is open behind it. simple: it has no place in one.
	extended, simple bool
	// copies: what follows may be inside a COPY.
	copies bool
}

// alphabet has every kind of message that there is, with contents that work and that do not.
func alphabet(t testing.TB) map[string]letter {
	t.Helper()
	letters := map[string]letter{}
	add := func(l letter, m pgproto3.FrontendMessage) {
		if m != nil {
			b, err := m.Encode(nil)
			if err != nil {
				t.Fatal(err)
			}
			l.send = b
		}
		letters[l.name] = l
	}
	for name, text := range map[string]string{
		"select": "select 7", "division": "select 1/0", "begin": "begin", "commit": "commit", "rollback": "rollback", "nothing": "", "insert": "insert into t values (1)",
		"savepoint": "savepoint s", "to savepoint": "rollback to savepoint s", "missing": "select * from missing",
	} {
		add(letter{name: name, simple: true}, query(text))
	}
	add(letter{name: "copy in", simple: true, copies: true}, query("copy t from stdin"))
	add(letter{name: "copy out", simple: true}, query("copy (select 8) to stdout"))
	for name, m := range map[string]pgproto3.FrontendMessage{
		"parse": parse("", "select 9"), "parse named": parse("n", "select 10"), "parse begin": parse("", "begin"), "parse many": parse("", "select generate_series(1, 3)"),
		"parse failing": parse("", "select 1/(select 0)"), "parse missing": parse("", "select * from missing"),
		"bind": bind("", "", 0), "bind named": bind("p", "n", 0), "bind missing": bind("", "missing", 0),
		"describe": &pgproto3.Describe{ObjectType: 'P'}, "describe named": &pgproto3.Describe{ObjectType: 'S', Name: "n"},
		"execute": execute("", 0), "execute named": execute("p", 1), "execute missing": execute("missing", 0),
		"close": &pgproto3.Close{ObjectType: 'P'}, "close named": &pgproto3.Close{ObjectType: 'S', Name: "n"}, "close portal": &pgproto3.Close{ObjectType: 'P', Name: "p"}, "flush": &pgproto3.Flush{},
	} {
		add(letter{name: name, extended: true}, m)
	}
	add(letter{name: "parse copy", extended: true, copies: true}, parse("", "copy t from stdin"))
	add(letter{name: "sync"}, sync())
	add(letter{name: "data"}, &pgproto3.CopyData{Data: []byte("2\n")})
	add(letter{name: "wrong data"}, &pgproto3.CopyData{Data: []byte("x\n")})
	add(letter{name: "done"}, &pgproto3.CopyDone{})
	add(letter{name: "fail"}, &pgproto3.CopyFail{Message: "enough"})
	add(letter{name: "terminate", closes: true}, &pgproto3.Terminate{})
	add(letter{name: "call", closes: true}, &pgproto3.FunctionCall{Function: 1}) // which there is not
	add(letter{name: "password", closes: true}, &pgproto3.PasswordMessage{Password: "x"})
	add(letter{name: "unknown", closes: true, send: []byte{'y', 0, 0, 0, 4}}, nil)
	add(letter{name: "server's", closes: true, send: []byte{'Z', 0, 0, 0, 5, 'I'}}, nil)
	return letters
}

// phases are what comes before the letters of a sequence.
var phases = map[string][]string{
	"idle": nil, "in a transaction": {"begin"}, "in a failed one": {"begin", "division"}, "in COPY in": {"copy in"}, "in COPY out": {"copy out"},
	"in COPY in of a transaction": {"begin", "insert", "copy in", "data"}, "in a pipeline": {"parse", "bind"}, "in a pipeline that failed": {"parse missing", "bind"},
	"in a pipeline's COPY in": {"parse copy", "bind", "execute", "flush"}, "behind a COPY in that failed": {"copy in", "wrong data", "done"},
	"between rows": {"begin", "parse many", "bind", "execute"},
}

// TestStateMachine sends every kind of message in every phase, and generated sequences of
// them, to the server and through gates to the server. A gate answers as the server does, in
// kinds of messages, SQLSTATE, tags and status of the transaction, or ends the connection
// with an error that says so, and that only where a message has no place.
func TestStateMachine(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table t(id int); create table people(email text)")
	letters := alphabet(t)
	names := slices.Sorted(maps.Keys(letters))
	var all [][]string
	for _, phase := range slices.Sorted(maps.Keys(phases)) {
		for _, name := range names {
			all = append(all, append(slices.Clone(phases[phase]), name))
		}
	}
	for i := range *sequences {
		random := rand.New(rand.NewPCG(*sequence+uint64(i), 0))
		var s []string
		for range 2 + random.IntN(8) {
			s = append(s, names[random.IntN(len(names))])
		}
		all = append(all, s)
	}
	m := &machine{letters: letters, direct: server.URI("postgres", "postgres", server.Password), gates: map[string]string{}, open: map[string]*pgconn.HijackedConn{}}
	defer m.close()
	for kind, options := range map[string][]option{"unmasked": nil, "masked": {masking(keepLast4(), "public.people.email")}} {
		g := start(t, server, options...)
		m.gates[kind] = g.uri(g.grant("agent", v1alpha1.AccessFull), "postgres", "")
	}
	closed := 0
	for _, s := range all {
		closed += m.try(t, s)
		if t.Failed() {
			t.Logf("sequence %q", s)
		}
	}
	t.Logf("%d sequences; gates ended %d connections that the server did not", len(all), closed)
}

type machine struct {
	letters map[string]letter
	direct  string
	gates   map[string]string
	open    map[string]*pgconn.HijackedConn // by URI; what no sequence has ended
}

func (m *machine) close() {
	for _, h := range m.open {
		_ = h.Conn.Close()
	}
}

// conn returns an idle connection, an earlier one if there is one.
func (m *machine) conn(t *testing.T, uri string) *pgconn.HijackedConn {
	t.Helper()
	h := m.open[uri]
	if h == nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		conn, err := pgconn.Connect(ctx, uri)
		if err != nil {
			t.Fatal(err)
		}
		if h, err = conn.Hijack(); err != nil {
			t.Fatal(err)
		}
	}
	_ = h.Conn.SetDeadline(time.Now().Add(patience))
	return h
}

// try compares one sequence, and returns how many gates ended it before the server did.
func (m *machine) try(t *testing.T, s []string) int {
	t.Helper()
	want, closed := m.answers(t, m.direct, s), 0
	for kind, uri := range m.gates {
		got := m.answers(t, uri, s)
		if slices.EqualFunc(got, want, same) {
			continue
		}
		before, found := cutLast(got, "FATAL(08P01)")
		if n := min(len(before), len(want)); slices.Contains(s, "terminate") && slices.EqualFunc(before[:n], want[:n], same) {
			// A client that has gone is owed no answers: the gate ends what runs, the server answers first.
			continue
		}
		switch {
		case !found:
			t.Errorf("%s, %q:\n     got %s\nwant %s", kind, s, got, want)
		case !slices.EqualFunc(before, want[:min(len(before), len(want))], same):
			t.Errorf("%s, %q: before the end\n     got %s\nwant %s", kind, s, got, want)
		case !m.mayClose(s):
			t.Errorf("%s, %q: it ends, and every message has its place", kind, s)
		default:
			closed++
		}
	}
	return closed
}

// same compares a word of a gate with one of the server. What fails at the server may be
// refused by the gate, which does not look at names in a transaction that has failed.
func same(got, want string) bool {
	return got == want || got == "ERROR(42501)" && strings.HasPrefix(want, "ERROR(")
}

// mayClose says whether a message of the sequence may be out of its place.
func (m *machine) mayClose(s []string) bool {
	open := false
	for _, name := range s {
		l := m.letters[name]
		if l.closes || l.copies || l.simple && open {
			return true
		}
		open = (open || l.extended) && name != "sync"
	}
	return false
}

// answers sends a sequence at once, then what ends every phase, and returns what comes back.
func (m *machine) answers(t *testing.T, uri string, s []string) []string {
	t.Helper()
	h := m.conn(t, uri)
	delete(m.open, uri)
	var send []byte
	for _, name := range append(slices.Clone(s), "done", "sync", "rollback", "close named", "close", "sync") {
		send = append(send, m.letters[name].send...)
	}
	const last = "select 'the end'"
	send = append(binary.BigEndian.AppendUint32(append(send, 'Q'), uint32(4+len(last)+1)), last+"\x00"...)
	if _, err := h.Conn.Write(send); err != nil {
		t.Fatal(err)
	}
	var got []string
	for ended := false; ; {
		message, err := h.Frontend.Receive()
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%q: nothing comes after %s", s, got)
			}
			_ = h.Conn.Close()
			return got
		}
		switch w := word(message); w {
		case "":
		case "DataRow(the end)":
			ended = true
		default:
			got = append(got, w)
			if ended && strings.HasPrefix(w, "Ready") {
				m.open[uri] = h
				return got
			}
		}
	}
}

// word is a message without what a gate may say otherwise.
func word(m pgproto3.BackendMessage) string {
	switch m := m.(type) {
	case *pgproto3.ErrorResponse:
		return fmt.Sprintf("%s(%s)", m.Severity, m.Code)
	case *pgproto3.NoticeResponse, *pgproto3.ParameterStatus:
		return ""
	}
	return words(m)
}

// cutLast returns what is before the last word, if that is the given one.
func cutLast(got []string, last string) ([]string, bool) {
	if n := len(got); n > 0 && got[n-1] == last {
		return got[:n-1], true
	}
	return got, false
}
