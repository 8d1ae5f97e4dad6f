package postgres

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// pinned lets the rules that masking added admit functions.
func pinned(functions ...v1alpha1.PinnedFunction) option {
	return func(g *gate, _ *postgres.Config) {
		for _, r := range g.input.MaskingRules {
			r.Spec.Functions = functions
		}
	}
}

// TestG3PinnedFunctions calls functions of a user through a gate, in every form of the
// protocol, and replaces one between two executions of one prepared statement.
func TestG3PinnedFunctions(t *testing.T) {
	server := pgtest.Start(t)
	server.Exec(t, "postgres", `create table people (id int, email text); insert into people values (1, 'secret.person@example.com');
		create schema app; create function app.twice(int) returns int language sql as 'select $1 * 2'; create function app.leak(int) returns text language sql as 'select email from public.people where id = $1'`)
	digest := server.Query(t, "postgres", `SELECT encode(sha256(convert_to(json_build_array(n.nspname, p.proname, pg_get_userbyid(p.proowner), l.lanname, p.prokind, p.prosecdef,
		p.proleakproof, p.proisstrict, p.proretset, p.provolatile, p.proparallel, p.prorettype::text, p.proargtypes::text, p.proallargtypes::text, p.proargmodes::text,
		p.proargnames, p.proargdefaults::text, p.protrftypes::text, p.proconfig, p.probin, p.prosqlbody::text, p.prosrc)::text, 'UTF8')), 'hex')
		FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace JOIN pg_language l ON l.oid = p.prolang WHERE p.proname = 'twice'`)[0][0]
	g := start(t, server, masking(v1alpha1.MaskFunction{Redact: &v1alpha1.RedactFunction{}}, "public.people.email"),
		pinned(v1alpha1.PinnedFunction{Signature: "app.twice(int)", SHA256: digest}),
		rule("calls", v1alpha1.ActionAllow, "", v1alpha1.SQLMatch{Functions: []string{"twice", "leak"}}))
	ctx := context.Background()
	conn := connect(t, g.uri(g.grant("agent", v1alpha1.AccessReadWrite), "postgres", ""))
	for name, mode := range map[string]pgx.QueryExecMode{"simple": pgx.QueryExecModeSimpleProtocol, "extended": pgx.QueryExecModeExec, "described": pgx.QueryExecModeCacheDescribe} {
		var twice int
		var email string
		if err := conn.QueryRow(ctx, "select app.twice(id), email from people", mode).Scan(&twice, &email); err != nil || twice != 2 || email != "[redacted]" {
			t.Errorf("%s: %d, %q, %v", name, twice, email, err)
		}
		err := conn.QueryRow(ctx, "select app.leak(1)", mode).Scan(&email)
		if err == nil || !strings.Contains(err.Error(), "CDA-2004") {
			t.Errorf("%s: a function that no rule pins: %v", name, err)
		}
	}
	if _, err := conn.Prepare(ctx, "again", "select app.twice($1)::text"); err != nil {
		t.Fatal(err)
	}
	var got string
	for range 4 {
		if err := conn.QueryRow(ctx, "again", 4).Scan(&got); err != nil || got != "8" {
			t.Fatalf("%q, %v", got, err)
		}
	}
	server.Exec(t, "postgres", "create or replace function app.twice(int) returns int language sql as 'select count(*)::int from public.people where email = ''secret.person@example.com'''")
	for range 2 {
		if err := conn.QueryRow(ctx, "again", 4).Scan(&got); err == nil || !strings.Contains(err.Error(), "CDA-200") {
			t.Errorf("a function that was replaced: %q, %v", got, err)
		}
	}
	if events := g.events(t); strings.Contains(events, "secret.person") {
		t.Error("a masked value is in the recording")
	}
}
