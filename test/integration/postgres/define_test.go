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
