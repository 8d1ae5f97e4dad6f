package postgres

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	gosync "sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	engpg "github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// treasure is in every value that is masked, before what masks keep of it, and in no other.
const treasure = "TREASURE"

// hammerFor is how long the definitions are changed; CARDEA_HAMMER makes it longer by hand.
func hammerFor(t *testing.T) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(os.Getenv("CARDEA_HAMMER"))
	if err != nil {
		return 3 * time.Second
	}
	return d
}

// watching is a recorder that keeps nothing and looks for masked values.
type watching struct {
	t      testing.TB
	events atomic.Int64
}

// Record implements recording.Recorder.
func (w *watching) Record(e *recording.Event) error {
	e.Sequence = uint64(w.events.Add(1))
	b, err := json.Marshal(e)
	if err == nil && bytes.Contains(b, []byte(treasure)) {
		w.t.Errorf("recorded: %s", b)
	}
	return err
}

// Close implements recording.Recorder.
func (w *watching) Close(string) error { return nil }

// redefinitions are what owners do to definitions, again and again, each in a database of its own
// connection. Masked are the columns *.*.token and whole tables named hidden.
var redefinitions = map[string][]string{
	"a view": {
		"create or replace view looks as select id, open as c from person",
		"create or replace view looks as select id, token as c from person",
	},
	"a view beneath a view": {
		"create or replace view beneath as select id, open as c from person",
		"create or replace view beneath as select id, token as c from person",
	},
	"a table made anew": {
		"begin; drop table anew; create table anew (id int, open text, token text); insert into anew values (1, 'fine', 'TREASURE-a-1111'); commit",
		"begin; drop table anew; create table anew (id int, token text, open text); insert into anew values (1, 'TREASURE-b-1111', 'fine'); commit",
	},
	"tables that take each other's name": {
		"begin; drop table if exists former; create table fresh (id int, v text, token text); insert into fresh values (1, 'TREASURE-c-1111', 'fine'); alter table fresh rename column token to w; alter table fresh rename column v to token; alter table fresh rename column w to v; alter table swapped rename to former; alter table fresh rename to swapped; commit",
		"begin; drop table if exists former; create table fresh (id int, v text, token text); insert into fresh values (1, 'fine', 'TREASURE-d-1111'); alter table swapped rename to former; alter table fresh rename to swapped; commit",
	},
	"children": {
		"begin; drop table if exists parent cascade; drop table if exists hidden; create table parent (id int, note text); insert into parent values (1, 'fine'); commit",
		"begin; create table hidden (id int, note text); insert into hidden values (2, 'TREASURE-e-1111'); commit",
		"alter table hidden inherit parent",
		"alter table hidden no inherit parent",
	},
	"partitions": {
		"begin; drop table if exists whole cascade; drop table if exists s1.hidden; create table whole (id int, note text) partition by list (id); create table part partition of whole for values in (1); insert into whole values (1, 'fine'); create table s1.hidden (id int, note text); insert into s1.hidden values (2, 'TREASURE-f-1111'); commit",
		"alter table whole attach partition s1.hidden for values in (2)",
		"alter table whole detach partition s1.hidden",
	},
	"shadows": {
		"begin; drop table if exists s1.dark; create table s1.dark (id int, v text, token text); insert into s1.dark values (1, 'fine', 'TREASURE-g-1111'); commit",
		"begin; drop table if exists s1.dark; create table s1.dark (id int, token text, v text); insert into s1.dark values (1, 'TREASURE-h-1111', 'fine'); commit",
		"drop table s1.dark",
	},
	"schemas": {
		"begin; create schema s3; create table s3.moved (id int, token text, v text); insert into s3.moved values (1, 'TREASURE-i-1111', 'fine'); drop schema s2 cascade; alter schema s3 rename to s2; commit",
		"begin; create schema s3; create table s3.moved (id int, v text, token text); insert into s3.moved values (1, 'fine', 'TREASURE-j-1111'); drop schema s2 cascade; alter schema s3 rename to s2; commit",
	},
	"types": {
		"alter table typed alter column token type varchar(60)",
		"alter table typed alter column token type text",
		"alter table typed alter column token type bytea using convert_to(token, 'UTF8')",
		"alter table typed alter column token type text using convert_from(token, 'UTF8')",
	},
	"locks": {
		"begin; lock table person in access exclusive mode; select pg_sleep(0.03); commit",
		"begin; lock table parent in access exclusive mode; select pg_sleep(0.03); commit",
		"begin; update person set open = open; select pg_sleep(0.01); commit",
	},
}

const hammered = `create schema s1; create schema s2;
create table person (id int, open text, token text); insert into person select i, 'fine', 'TREASURE-' || i || '-1111' from generate_series(1, 20) i;
create view looks as select id, open as c from person;
create view beneath as select id, open as c from person; create view above as select id, c from beneath;
create table anew (id int, open text, token text); create table swapped (id int, v text, token text); create table parent (id int, note text);
create table whole (id int, note text) partition by list (id); create table s2.moved (id int, v text, token text);
create table typed (id int, token text); insert into typed values (1, 'TREASURE-k-1111');
create table dark (id int, v text, token text); insert into dark values (1, 'fine', 'TREASURE-l-1111')`

// looks are what clients ask for meanwhile.
var looks = []string{
	"select id, c from looks order by id", "select c from above", "select id, c from above where id < 5", "select c from looks", "select * from anew", "select open from anew", "select v from swapped", "select * from swapped",
	"select note from parent", "select * from parent where id > 0", "select note, id from whole", "select v from dark", "select * from dark", "select * from s2.moved",
	"select v from moved", "select token from typed", "select p.token, d.v from person p join dark d on d.id = p.id", "select upper(open) from person", "select lower(v) from moved",
	"select (select c from looks l where l.id = p.id limit 1) from person p", "with x as (select note from whole) select * from x", "select open from person union all select c from looks",
	"update person set open = open where id = 1 returning open", "update dark set v = v returning v", "select count(*) from looks",
}

// hammerer is one client.
type hammerer struct {
	*raw
	random   *rand.Rand
	text     string
	prepared map[string]bool
	rows     *atomic.Int64
	errors   *gosync.Map // of SQLSTATE and the beginning of the message to *atomic.Int64
}

// pass sends messages and reads up to the given number of ReadyForQuery.
func (h *hammerer) pass(ready int, messages ...pgproto3.FrontendMessage) bool {
	for _, m := range messages {
		h.fe.Send(m)
	}
	if h.fe.Flush() != nil {
		return false
	}
	for ready > 0 {
		m, err := h.fe.Receive()
		if err != nil {
			return false
		}
		if !h.look(m) {
			ready--
		}
	}
	return true
}

// look looks at a message, and reports whether more is to come.
func (h *hammerer) look(m pgproto3.BackendMessage) bool {
	switch m := m.(type) {
	case *pgproto3.DataRow:
		h.rows.Add(1)
		for _, v := range m.Values {
			if bytes.Contains(v, []byte(treasure)) {
				h.t.Errorf("%s: shown: %s", h.text, v)
			}
		}
	case *pgproto3.CopyData:
		h.rows.Add(1)
		if bytes.Contains(m.Data, []byte(treasure)) {
			h.t.Errorf("%s: copied: %s", h.text, m.Data)
		}
	case *pgproto3.ReadyForQuery:
		return false
	default:
		if e, ok := m.(*pgproto3.ErrorResponse); ok {
			n, _ := h.errors.LoadOrStore(e.Code+" "+e.Message[:min(len(e.Message), 60)], new(atomic.Int64))
			n.(*atomic.Int64).Add(1)
		}
		if text := fmt.Sprintf("%+v", m); strings.Contains(text, treasure) {
			h.t.Errorf("%s: said: %s", h.text, text)
		}
	}
	return true
}

// ways are those in which a hammerer asks.
func (h *hammerer) ask() bool {
	text := looks[h.random.IntN(len(looks))]
	h.text = text
	format := int16(h.random.IntN(2))
	flush := &pgproto3.Flush{}
	describe := &pgproto3.Describe{ObjectType: 'P'}
	switch h.random.IntN(16) {
	case 0:
		return h.pass(1, query(text))
	case 1:
		return h.pass(1, parse("", text), bind("", "", format), describe, execute("", 0), sync())
	case 2, 3:
		name := fmt.Sprintf("s%d", h.random.IntN(len(looks)))
		for i, l := range looks {
			if name == fmt.Sprintf("s%d", i) {
				text, h.text = l, l
			}
		}
		if !h.prepared[name] {
			h.prepared[name] = true
			return h.pass(1, parse(name, text), bind("", name, format), execute("", 0), sync())
		}
		return h.pass(1, bind("", name, format), execute("", 0), sync())
	case 4:
		// A portal that is fetched from in pieces.
		h.fe.Send(parse("", text))
		h.fe.Send(bind("p", "", format))
		h.fe.Send(execute("p", 1))
		h.fe.Send(flush)
		return h.pass(0, execute("p", 1), flush) && h.pause() && h.pass(1, execute("p", 0), &pgproto3.Close{ObjectType: 'P', Name: "p"}, sync())
	case 5:
		other := looks[h.random.IntN(len(looks))]
		h.text += " and " + other
		return h.pass(1, parse("", text), bind("", "", format), execute("", 0), parse("", other), bind("", "", 0), execute("", 0), sync())
	case 6:
		return h.pass(0, parse("", text), bind("", "", format), execute("", 0), flush) && h.pause() && h.pass(1, sync())
	case 7:
		if !h.pass(1, query("begin")) || !h.pass(1, query(text)) || !h.pause() || !h.pass(1, query("savepoint a")) || !h.pass(1, parse("", text), bind("", "", format), execute("", 0), sync()) {
			return false
		}
		return h.pass(1, query("rollback to a")) && h.pass(1, query(text)) && h.pass(1, query("commit"))
	case 8, 11:
		return h.pass(1, query("begin")) && h.pass(1, query("declare c cursor for "+text)) && h.pass(1, query("fetch 1 from c")) && h.pause() && h.pass(1, query("fetch all from c")) && h.pass(1, query("rollback"))
	case 9, 12:
		return h.pass(1, query("prepare q as "+text)) && h.pass(1, query("execute q")) && h.pause() && h.pass(1, query("execute q")) && h.pass(1, query("deallocate q"))
	case 10, 13:
		return h.pass(1, query("copy ("+text+") to stdout"))
	case 14:
		return h.pass(1, query("drop table if exists pg_temp.mine")) && h.pass(1, query("create temp table mine as "+text)) && h.pass(1, query("select * from mine"))
	default:
		shadow := []string{"create temp table dark (id int, token text, v text)", "create temp table moved (token text, v text)", "drop table pg_temp.dark", "drop table pg_temp.moved",
			"set search_path = s1, s2, public", "set search_path = s2, public, s1", "discard plans"}
		return h.pass(1, query(shadow[h.random.IntN(len(shadow))]))
	}
}

// pause lets others change something.
func (h *hammerer) pause() bool {
	<-time.After(time.Duration(h.random.IntN(3)) * time.Millisecond)
	return true
}

// TestG3WhileDefinitionsChange reads while owners change everything that names stand for. No
// value that is masked may be in a single byte that clients get or that is recorded.
func TestG3WhileDefinitionsChange(t *testing.T) {
	server := pgtest.Start(t, "logging_collector = off", "log_statement = none", "log_min_messages = panic")
	server.Exec(t, "postgres", hammered)
	watch := &watching{t: t}
	g := start(t, server, masking(keepLast4(), "*.*.token", "public.hidden.note", "s1.hidden.note"), func(g *gate, _ *engpg.Config) { g.record = watch })
	go func() {
		for range g.ended {
		}
	}()
	c := g.grant("agent", v1alpha1.AccessFull)
	ctx, cancel := context.WithTimeout(context.Background(), hammerFor(t))
	defer cancel()
	var wg gosync.WaitGroup
	var rows, asked, changed atomic.Int64
	var errors gosync.Map
	for name, statements := range redefinitions {
		wg.Go(func() {
			owner, err := pgconn.Connect(context.Background(), server.URI("postgres", "postgres", server.Password))
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = owner.Close(context.Background()) }()
			for ctx.Err() == nil {
				for _, s := range statements {
					if err := owner.Exec(context.Background(), "set lock_timeout = '1s'; set search_path = public").Close(); err != nil {
						t.Errorf("%s: %v", name, err)
						return
					}
					if owner.Exec(context.Background(), s).Close() == nil {
						changed.Add(1)
					}
					_ = owner.Exec(context.Background(), "rollback").Close()
					<-time.After(time.Duration(rand.IntN(30)) * time.Millisecond)
				}
			}
		})
	}
	for i := range 6 {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(i)))
			for ctx.Err() == nil {
				conn, err := pgconn.Connect(context.Background(), g.uri(c, "postgres", ""))
				if err != nil {
					continue
				}
				hijacked, err := conn.Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				_ = hijacked.Conn.SetDeadline(time.Now().Add(20 * time.Second))
				h := &hammerer{raw: &raw{t: t, fe: hijacked.Frontend, h: hijacked}, random: random, prepared: map[string]bool{}, rows: &rows, errors: &errors}
				for n := 0; n < 200 && ctx.Err() == nil && h.ask(); n++ {
					asked.Add(1)
				}
				_ = hijacked.Conn.Close()
			}
		})
	}
	wg.Wait()
	errors.Range(func(what, n any) bool { t.Logf("%6d %s", n.(*atomic.Int64).Load(), what); return true })
	t.Logf("%d questions, %d rows, %d changes, %d events", asked.Load(), rows.Load(), changed.Load(), watch.events.Load())
}
