package postgres_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cardea-dev/cardea/proxy/sql"
	"github.com/cardea-dev/cardea/proxy/sql/postgres"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// tripped are changes of what a statement relies on, of every kind. The session's path is
// one, two; by is what the session itself does, of others otherwise.
var tripped = map[string]struct{ setup, text, change, by string }{
	"view replaced":             {setup: "create view v as select id, a from t", text: "select a from v", change: "create or replace view v as select id, b as a from t"},
	"view beneath replaced":     {setup: "create view w as select id, a from t; create view v as select id, a from w", text: "select a from v", change: "create or replace view w as select id, b as a from t"},
	"view's column renamed":     {setup: "create view v as select id, a from t", text: "select * from v", change: "alter view v rename column a to z"},
	"column beneath renamed":    {setup: "create view v as select id, a from t", text: "select * from v", change: "alter table t rename a to z"},
	"view for a table":          {text: "select a from t", change: "alter table t rename to s; create view t as select id, b as a from s"},
	"view renamed and back":     {setup: "create view v as select id, a from t", text: "select * from v", change: "alter view v rename to w; alter view w rename to v"},
	"column renamed":            {text: "select * from t", change: "alter table t rename a to z"},
	"columns swapped":           {text: "select a from t", change: "alter table t rename a to z; alter table t rename b to a; alter table t rename z to b"},
	"column added":              {text: "select * from t", change: "alter table t add z text"},
	"column dropped":            {text: "select * from t", change: "alter table t drop b"},
	"column's type":             {text: "select a from t", change: "alter table t alter a type varchar(9)"},
	"renamed and back":          {text: "select a from t", change: "alter table t rename to s; alter table s rename to t"},
	"made anew":                 {text: "select a from t", change: "drop table t; create table t (id int, b text, a text)"},
	"names swapped":             {setup: "create table s (id int, b text, a text)", text: "select a from t", change: "alter table t rename to x; alter table s rename to t; alter table x rename to s"},
	"moved":                     {setup: "create table two.t (id int, b text, a text)", text: "select a from t", change: "alter table t set schema three"},
	"child made":                {text: "select a from t", change: "create table c () inherits (t)"},
	"child attached":            {setup: "create table c (id int, a text, b text)", text: "select a from t", change: "alter table c inherit t"},
	"child let go":              {setup: "create table c () inherits (t)", text: "select a from t", change: "alter table c no inherit t"},
	"child dropped":             {setup: "create table c () inherits (t)", text: "select a from t", change: "drop table c"},
	"child's child":             {setup: "create table c () inherits (t)", text: "select a from t", change: "create table g () inherits (c)"},
	"child's child attached":    {setup: "create table c () inherits (t); create table g (id int, a text, b text)", text: "select a from t", change: "alter table g inherit c"},
	"child renamed":             {setup: "create table c () inherits (t)", text: "select a from t", change: "alter table c rename to hidden"},
	"child in a schema":         {setup: "create table three.c () inherits (t)", text: "select a from t", change: "alter schema three rename to four"},
	"parent":                    {setup: "create table p (a text)", text: "select a from t", change: "alter table t inherit p"},
	"parent's parent":           {setup: "create table p (a text); alter table t inherit p; create table q (a text)", text: "select a from t", change: "alter table p inherit q"},
	"parent's name":             {setup: "create table p (a text); alter table t inherit p", text: "select a from t", change: "alter table p rename to hidden"},
	"sibling":                   {setup: "create table p (a text); alter table t inherit p", text: "select a from t", change: "create table c () inherits (p)"},
	"partition made":            {text: "select a from whole", change: "create table part2 partition of whole for values in (2)"},
	"partition attached":        {setup: "create table part2 (id int, a text)", text: "select a from whole", change: "alter table whole attach partition part2 for values in (2)"},
	"partition let go":          {text: "select a from whole", change: "alter table whole detach partition part"},
	"partition let go slowly":   {text: "select a from whole", change: "alter table whole detach partition part concurrently"},
	"partition's partition":     {setup: "create table part2 partition of whole for values in (2) partition by list (a)", text: "select a from whole", change: "create table part3 partition of part2 default"},
	"beneath a view, child":     {setup: "create view v as select id, a from t", text: "select a from v", change: "create table c () inherits (t)"},
	"schema renamed":            {setup: "create table three.t (id int, a text)", text: "select a from three.t", change: "alter schema three rename to four"},
	"schemas swapped":           {setup: "create table three.t (id int, a text); create schema four; create table four.t (id int, b text, a text)", text: "select a from three.t", change: "alter schema three rename to x; alter schema four rename to three; alter schema x rename to four"},
	"schema of the path":        {setup: "create table two.t (id int, b text, a text)", text: "select a from t", change: "alter schema one rename to five"},
	"schema into the path":      {setup: "create schema five; create table five.u (id int, b text, a text); drop schema one cascade", text: "select a from u", change: "alter schema five rename to one"},
	"rights of a schema":        {setup: "create table two.t (id int, b text, a text); grant all on all tables in schema one, two to poor; grant usage on schema one, two to poor", by: "set role poor", text: "select a from t", change: "revoke usage on schema one from poor"},
	"shadow":                    {text: "select a from u", change: "create table one.u (id int, b text, a text)"},
	"shadow by a view":          {text: "select a from u", change: "create view one.u as select id, b as a from two.u"},
	"shadow moved":              {setup: "create table three.u (id int, b text, a text)", text: "select a from u", change: "alter table three.u set schema one"},
	"shadow renamed":            {setup: "create table one.x (id int, b text, a text)", text: "select a from u", change: "alter table one.x rename to u"},
	"shadow in a join":          {text: "select t.a from t join u on u.id = t.id", change: "create table one.u (id int, b text, a text)"},
	"shadow in a sub-select":    {text: "select a from t where exists (select from u)", change: "create table one.u (id int, b text, a text)"},
	"function":                  {text: "select upper(a) from t", change: "create function one.upper(varchar) returns text language sql as 'select $1'"},
	"function in a view's name": {setup: "create view v as select id, upper(a) as a from t", text: "select lower(a) from v", change: "create function two.lower(varchar) returns text language sql as 'select $1'"},
	"operator":                  {text: "select id from t where id = 1", change: "create operator one.= (leftarg = int, rightarg = int, function = int4eq)"},
	"operator in a path":        {setup: "create operator three.+ (leftarg = int, rightarg = int, function = int4pl)", text: "select id + 1 from t", change: "alter operator three.+ (int, int) set schema one"},
	"cast":                      {setup: "create domain dom as int; create function f(int) returns text language sql as 'select $1::text'", text: "select id from t", change: "create cast (int as text) with function f(int)"},
	"type":                      {text: "select id::text from t", change: "create domain one.text as int"},
	"rule":                      {text: "update t set b = 'x' where id = 1", change: "create rule r as on update to t do also nothing"},
	"security of rows":          {setup: "create policy q on t using (true)", text: "update t set b = 'x' where id = 1", change: "alter policy q on t using (a = 'x')"},
	"policy made":               {text: "update t set b = 'x' where id = 1", change: "create policy q on t using (a = 'x')"},
	"policy dropped":            {setup: "create policy q on t using (a = 'x')", text: "update t set b = 'x' where id = 1", change: "drop policy q on t"},
	"unique":                    {text: "update t set b = 'x' where id = 1", change: "create unique index on t (a, b)"},
	"unique, made slowly":       {text: "update t set b = 'x' where id = 1", change: "create unique index concurrently on t (a, b)"},
	"unique of a child":         {setup: "create table c () inherits (t)", text: "update t set b = 'x' where id = 1", change: "create unique index on c (a, b)"},
	"unique no more":            {setup: "create unique index i on t (a, b)", text: "update t set b = 'x' where id = 1", change: "drop index i"},
	"exclusion":                 {text: "update t set b = 'x' where id = 1", change: "alter table t add exclude (b with =)"},
	"check":                     {text: "update t set b = 'x' where id = 1", change: "alter table t add check (a <> b) not valid"},
	"check no more":             {setup: "alter table t add constraint c check (a <> b)", text: "update t set b = 'x' where id = 1", change: "alter table t drop constraint c"},
	"default":                   {setup: "alter table t add z text", text: "insert into t (id) values (2)", change: "alter table t drop z; alter table t add z text generated always as (a || b) stored"},
	"reference":                 {setup: "insert into u values (1, 'b'); alter table u add unique (a)", text: "update t set b = 'x' where id = 1", change: "alter table t add foreign key (b) references u (a)"},
	"reference of a child":      {setup: "create table c () inherits (t); alter table u add unique (a)", text: "delete from u where id = 5", change: "alter table c add foreign key (b) references u (a)"},
	"referenced":                {setup: "alter table t add unique (b)", text: "update t set b = 'x' where id = 1", change: "create table f (b text references t (b))"},
	"referenced in turn":        {setup: "alter table t add unique (b); create table f (b text unique references t (b))", text: "update t set b = 'x' where id = 1", change: "create table g (b text references f (b))"},
	"referenced no more":        {setup: "alter table t add unique (b); create table f (b text references t (b))", text: "update t set b = 'x' where id = 1", change: "drop table f"},
	"own path":                  {setup: "create table two.t (id int, b text, a text)", text: "select a from t", by: "own", change: "set search_path = two, one"},
	"own role":                  {text: "select a from t", by: "own", change: "set role poor"},
	"own replication":           {text: "update t set b = 'x' where id = 1", by: "own", change: "set session_replication_role = replica"},
	"own temporary table":       {text: "select a from t", by: "own", change: "create temp table t (id int, b text, a text)"},
	"own table":                 {text: "select a from u", by: "own", change: "create table one.u (id int, b text, a text)"},
	"own child":                 {text: "select a from t", by: "own", change: "create table c () inherits (t)"},
	"own view":                  {setup: "create view v as select id, a from t", text: "select a from v", by: "own", change: "create or replace view v as select id, b as a from t"},
	"own plans":                 {text: "select a from t", by: "own", change: "discard plans"},
}

// untripped are changes that concern no statement on t.
var untripped = []string{"insert into u values (9, 'x', 'y')", "update t set a = 'z'", "create table three.other (id int)", "create function three.harmless() returns int language sql as 'select 1'",
	"create domain three.unheard as int", "alter table three.other add b text", "drop table three.other"}

const wiredSchema = `set client_min_messages = error; drop schema if exists one, two, three, four, five, x cascade; create schema one; create schema two; create schema three; set search_path = one, two;
create table t (id int, a text, b text); insert into t values (1, 'a', 'b'); create table two.u (id int, a text, b text);
create table whole (id int, a text) partition by list (id); create table part partition of whole for values in (1);
do $$ begin create role poor; exception when duplicate_object then end $$; grant usage on schema one, two to poor; grant all on all tables in schema one, two, public to poor`

// wiring is a session whose definitions are proven by a tripwire, and another one.
type wiring struct {
	*backend
	other *pgconn.PgConn
	f     *sql.Facts
}

func (w *wiring) run(t *testing.T, c *pgconn.PgConn, text string) {
	t.Helper()
	if err := c.Exec(t.Context(), text).Close(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// proven reports whether a verification read no definition.
func (w *wiring) proven(t *testing.T) bool {
	t.Helper()
	w.asked = 0
	err := w.analyzer.Verify(t.Context(), w.f, w.catalog)
	if err != nil && !errors.Is(err, postgres.ErrDefinitionChanged) && !errors.Is(err, postgres.ErrOldSnapshot) {
		t.Fatal(err)
	}
	return err == nil && w.asked <= 2
}

// noise commits something, so that no snapshot proves anything.
func (w *wiring) noise(t *testing.T) {
	t.Helper()
	w.run(t, w.other, "insert into public.noise values (1)")
}

// newWiring connects to a server of a test.
func newWiring(t *testing.T, s *pgtest.Server) *wiring {
	t.Helper()
	s.Exec(t, "postgres", "create database original")
	s.Exec(t, "original", "create table noise (n int)")
	w := &wiring{backend: connect(t, s, newAnalyzer(t), "postgres", s.Password, "original")}
	w.prepared = map[string]string{}
	var err error
	if w.other, err = pgconn.Connect(t.Context(), s.URI("postgres", "original", s.Password)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.other.Close(context.Background()) })
	return w
}

// begin makes the definitions anew and analyses a text.
func (w *wiring) begin(t *testing.T, setup, text, first string) {
	t.Helper()
	w.run(t, w.c, "rollback; reset role; reset all; discard temp; set search_path = one, two")
	w.run(t, w.other, "reset lock_timeout")
	w.run(t, w.other, wiredSchema)
	if setup != "" {
		w.run(t, w.other, setup)
	}
	if first != "" {
		w.run(t, w.c, first)
	}
	w.catalog = postgres.NewCatalog(w)
	if w.f = w.analyze(t, text); !admitted(w.f) {
		t.Fatal(why(w.f))
	}
}

// set makes verifications until the tripwire is set, which the last of them found.
func (w *wiring) set(t *testing.T) {
	t.Helper()
	for range 6 {
		w.noise(t)
		if w.proven(t) {
			return
		}
	}
	t.Fatal("no tripwire is set")
}

// change changes a definition, which may not be proven then; false if what the session holds
// prevents that.
func (w *wiring) change(t *testing.T, change string, own bool) bool {
	t.Helper()
	who := w.c
	if !own {
		who = w.other
		w.run(t, who, "set search_path = one, two; set lock_timeout = '10ms'")
	}
	err := who.Exec(t.Context(), change).Close()
	if blocked := new(pgconn.PgError); errors.As(err, &blocked) && w.c.TxStatus() != 'I' && (blocked.Code == "55P03" || blocked.Code == "25001") {
		return false
	}
	if err != nil {
		t.Fatal(err)
	}
	if w.proven(t) {
		t.Error("it is proven after the change")
	}
	return true
}

// everyThird is which of the kinds of change are tried on each release but the oldest, which has
// them all.
const everyThird = 3

// TestG3Tripwires changes every kind of definition that a tripwire is set for: none is proven
// by it afterwards, in an open transaction that keeps its locks or, where that prevents the
// change, between transactions.
func TestG3Tripwires(t *testing.T) {
	for _, major := range pgtest.Majors {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			w := newWiring(t, pgtest.StartMajor(t, major))
			for i, name := range slices.Sorted(maps.Keys(tripped)) {
				if major != pgtest.Majors[0] && i%everyThird != major%everyThird {
					continue
				}
				c := tripped[name]
				first, own := c.by, c.by == "own"
				if own {
					first = ""
				}
				t.Run(name, func(t *testing.T) {
					w.begin(t, c.setup, c.text, first)
					w.set(t)
					w.run(t, w.c, "begin; insert into public.noise values (2); "+c.text)
					if !w.proven(t) {
						t.Error("definitions are read again in a transaction that wrote")
					}
					if !w.change(t, c.change, own) {
						w.begin(t, c.setup, c.text, first)
						w.set(t)
						w.change(t, c.change, own)
					}
				})
			}
			for _, name := range []string{"child made", "view beneath replaced", "schema renamed", "shadow", "function", "own child"} {
				t.Run("set in the transaction, "+name, func(t *testing.T) {
					c := tripped[name]
					w.begin(t, c.setup, c.text, "begin; insert into public.noise values (2)")
					for range 4 {
						w.proven(t)
					}
					w.change(t, c.change, c.by == "own")
				})
			}
			t.Run("nothing", w.nothing)
		})
	}
}

// nothing changes what concerns no statement on t.
func (w *wiring) nothing(t *testing.T) {
	w.begin(t, "", "select upper(a) from t where id = 1", "")
	w.set(t)
	for _, change := range untripped {
		w.run(t, w.other, change)
		if !w.proven(t) {
			t.Errorf("definitions are read again after: %s", change)
		}
	}
	w.run(t, w.c, "begin; insert into public.noise values (2)")
	if !w.proven(t) {
		t.Error("definitions are read again in a transaction that wrote")
	}
	w.run(t, w.c, "rollback; begin isolation level repeatable read")
	if w.proven(t) {
		t.Error("a tripwire is believed in a transaction that keeps a snapshot")
	}
}

// TestTripwiresAreBounded sets more tripwires than a session may have.
func TestTripwiresAreBounded(t *testing.T) {
	w := newWiring(t, pgtest.Start(t))
	w.begin(t, "", "select a from t", "")
	w.set(t)
	first := w.f
	for i := range 40 {
		w.run(t, w.other, "create table one.n"+strconv.Itoa(i)+" (id int)")
		if w.f = w.analyze(t, "select id from n"+strconv.Itoa(i)); !admitted(w.f) {
			t.Fatal(why(w.f))
		}
		w.set(t)
	}
	n := 0
	for text := range w.prepared {
		if strings.Contains(text, "'now'") {
			n++
		}
	}
	if n == 0 || n > 32 {
		t.Errorf("%d tripwires are set", n)
	}
	w.f = first
	w.set(t)
}

// ForgetQuestion implements postgres.Forgetter.
func (b *backend) ForgetQuestion(text string) {
	if name := b.prepared[text]; name != "" {
		delete(b.prepared, text)
		_ = b.c.Deallocate(context.Background(), name)
	}
}
