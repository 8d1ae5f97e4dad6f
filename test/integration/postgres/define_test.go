package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestDefinitionsOnMaskedTarget migrates tables without masked columns through a gate, in
// every form of the protocol, in transactions and outside.
func TestDefinitionsOnMaskedTarget(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", "create table people (id int primary key, email text); insert into people values (1, 'secret.person@example.com')")
	g := start(t, server, masking(v1alpha1.MaskFunction{Redact: &v1alpha1.RedactFunction{}}, "public.people.email"))
	ctx := context.Background()
	conn := connect(t, g.uri(g.grant("agent", v1alpha1.AccessFull), "postgres", ""))
	for name, mode := range map[string]pgx.QueryExecMode{"simple": pgx.QueryExecModeSimpleProtocol, "exec": pgx.QueryExecModeExec, "prepared": pgx.QueryExecModeCacheStatement} {
		for _, around := range [][2]string{{"", ""}, {"begin", "commit"}} {
			for _, text := range []string{
				around[0],
				"create table bills (id serial primary key, person int references people(id), total numeric default 0)",
				"create index on bills (total)", "alter table bills add column note text", "insert into bills (person, total, note) values (1, 5, 'x')",
				"create temp view open_bills as select b.id, b.note from bills b join people p on p.id = b.person", "select * from open_bills",
				"create temp table copies as select id, total from bills", "select total from copies",
				"analyze bills", around[1],
			} {
				if text == "" {
					continue
				}
				if _, err := conn.Exec(ctx, text, mode); err != nil {
					t.Fatalf("%s: %s: %v", name, text, err)
				}
			}
			for _, text := range []string{"create temp view shown as select email as note from people", "create temp table shown as select email as id from people", "create index on people (id)",
				"alter table people rename email to note", "drop table people cascade"} {
				if _, err := conn.Exec(ctx, text, mode); err == nil || !strings.Contains(err.Error(), "CDA-2004") {
					t.Errorf("%s: %s: %v", name, text, err)
				}
			}
			for _, text := range []string{"drop view open_bills", "drop table copies", "drop table bills"} {
				if _, err := conn.Exec(ctx, text, mode); err != nil {
					t.Fatalf("%s: %s: %v", name, text, err)
				}
			}
		}
	}
	if events := g.events(t); strings.Contains(events, "secret.person") {
		t.Error("a masked value is in the recording")
	}
}

// TestG3DefinitionsKeepWhatTheirNamesMeant drops the table that a definition was verified for,
// and that hides a masked one, while the definition waits for it.
func TestG3DefinitionsKeepWhatTheirNamesMeant(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", `create table people (id int primary key, email text); insert into people values (1, '123-45-6789'); create schema early;
		alter database postgres set search_path = early, public`)
	g := start(t, server, masking(v1alpha1.MaskFunction{Redact: &v1alpha1.RedactFunction{}}, "public.people.email"))
	c := g.grant("agent", v1alpha1.AccessFull)
	for _, text := range []string{
		"alter table people add check (email <> '123-45-6789')",
		"alter table people add constraint told check (length(email) <> 11), alter id set default 5",
		"create unique index told on people ((1 / (length(email) - 11)))",
	} {
		t.Run(text, func(t *testing.T) {
			server.Exec(t, "postgres", "drop table if exists early.people; create table early.people (id int, email text)")
			owner := connect(t, server.URI("postgres", "postgres", server.Password))
			if _, err := owner.Exec(t.Context(), "begin; lock table early.people in share update exclusive mode"); err != nil {
				t.Fatal(err)
			}
			dropped := make(chan struct{})
			go func() {
				defer close(dropped)
				eventually(t, "the target waits", func() bool {
					return len(server.Query(t, "postgres", "select 1 from pg_locks where not granted and relation = 'early.people'::regclass")) > 0
				})
				// It fails where both wait for each other.
				_, _ = owner.Exec(t.Context(), "drop table early.people; commit")
				_, _ = owner.Exec(t.Context(), "rollback")
			}()
			fe := frontend(t, g, c, "postgres")
			fe.send(query(text))
			answer := fe.untilReady()
			<-dropped
			if strings.Contains(answer, "23514") || strings.Contains(answer, "22012") {
				t.Errorf("the masked table was checked: %s", answer)
			}
			left := server.Query(t, "postgres", `select conname::text from pg_constraint where conrelid = 'public.people'::regclass and contype = 'c'
				union all select 'told' where 2 <= (select count(*) from pg_index where indrelid = 'public.people'::regclass)`)
			if len(left) > 0 {
				t.Errorf("the masked table was changed: %v", left)
			}
		})
	}
}
