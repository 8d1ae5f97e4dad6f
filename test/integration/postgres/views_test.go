package postgres

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// TestG3ViewsAreMasked reads views through the gate while an administrator changes them.
// The target reports the view's own columns as the origin of what it returns.
func TestG3ViewsAreMasked(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", customers+`; create view people as select id, email as contact, name from customers;
		create view above as select contact as c, id from people; create view named as select id, name, email as contact from customers`)
	g := start(t, server, masking(keepLast4(), "public.customers.email", "public.named.name", "*.*.ssn"))
	ctx := context.Background()
	conn := connect(t, g.uri(g.grant("agent", v1alpha1.AccessFull), "postgres", "")).PgConn()
	read := func(text string) []string {
		t.Helper()
		var seen []string
		prepared, err := conn.Prepare(ctx, "", text, nil)
		if err != nil {
			return []string{err.Error()}
		}
		for _, r := range []*pgconn.Result{conn.ExecPrepared(ctx, prepared.Name, nil, nil, nil).Read(), conn.ExecParams(ctx, text, nil, nil, nil, nil).Read()} {
			seen = append(seen, fmt.Sprintf("%q %v", r.Rows, r.Err))
		}
		results, err := conn.Exec(ctx, text).ReadAll()
		for _, r := range results {
			seen = append(seen, fmt.Sprintf("%q %v", r.Rows, err))
		}
		noSecret(t, text, strings.Join(seen, "\n"))
		return seen
	}
	see := func(text, want string) {
		t.Helper()
		for range 2 {
			for _, got := range read(text) {
				if got != want {
					t.Errorf("%s shows %s, want %s", text, got, want)
				}
			}
		}
	}
	const masked = `[["***********.com"]] <nil>`
	see("select contact from people where id = 1", masked)
	see("select c from above where id = 1", masked)
	see("select name from people where id = 1", `[["Ada"]] <nil>`)
	see("select name from named where id = 1", `[["***"]] <nil>`)
	for _, change := range []string{
		"create or replace view people as select id, name::text as contact, email as name from customers",
		"alter view people rename to former; create view people as select id, ssn::text as contact, email as name from customers",
		"alter table customers rename email to address",
		"create view late as select address as c, id from customers; alter view above rename to former_above; alter view late rename to above",
	} {
		server.Exec(t, "postgres", change)
		for _, text := range []string{"select contact from people where id = 1", "select name from people where id = 1", "select * from people union all select * from people",
			"select c from above where id = 1", "select contact from named where id = 1"} {
			read(text)
		}
	}
	for _, text := range []string{"select id from people order by name", "select upper(name) from people", "update people set name = 'x'", "select people from people"} {
		if err := conn.Exec(ctx, text).Close(); sqlState(err) != "42501" {
			t.Errorf("%s: %v", text, err)
		}
	}
	noSecret(t, "the recording", g.events(t))
}
