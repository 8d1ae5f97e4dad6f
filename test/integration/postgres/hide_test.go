package postgres

import (
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// TestG3Hide makes relations that a trigger would take for the table in which it logs old
// values of a masked column.
func TestG3Hide(t *testing.T) {
	server, g, c := pathGate(t)
	server.Exec(t, "postgres", `create type public.mood as enum ('fine'); alter function public.checks(text) set search_path = public, pg_temp`)
	const updates, refused = "update two.t set id = 1", "CDA-2004"
	for name, send := range mayProve {
		for what, steps := range map[string][][2]string{
			"a temporary table":         {{"create temp table log (v text)", refused}, {updates, "UPDATE 1"}},
			"by its schema":             {{"create table pg_temp.log (v text)", refused}},
			"by the number":             {{"create temp table u (v text)", "CREATE"}, {"create temp table if not exists log (v text)", refused}},
			"of a query":                {{"create temp table log as select 'x' as v", refused}, {"create temp view log as select 'x' as v", refused}},
			"of the server's":           {{"create temp table pg_class (v text)", "CDA-2001"}},
			"a table of another schema": {{"create schema if not exists mine", "CREATE"}, {"create table mine.log (v text)", refused}, {"create temp sequence log", refused}},
			"a type":                    {{"create type pg_temp.mood as enum ('x')", refused}},
			"another name":              {{"create temp table other (v text)", "CREATE"}, {"create temp table more as select 1 as id", "SELECT 1"}, {updates, "UPDATE 1"}},
			"one that is there":         {{"create table if not exists public.log (v text)", "CREATE"}},
		} {
			t.Run(name+"/"+what, func(t *testing.T) {
				fe := frontend(t, g, c, "postgres")
				for _, step := range steps {
					if got := send(fe, step[0]); !strings.Contains(got, step[1]) {
						t.Errorf("%s: want %s, got %s", step[0], step[1], got)
					}
				}
			})
		}
	}
	server.Exec(t, "postgres", "alter function public.logs() set search_path = public, pg_temp")
	fe := frontend(t, g, g.grant("other", v1alpha1.AccessFull), "postgres")
	for _, step := range [][2]string{{"create temp table log (v text)", "CREATE"}, {updates, "UPDATE 1"}, {"select v from pg_temp.log", "SELECT 0"}} {
		if got := mayProve["simple"](fe, step[0]); !strings.Contains(got, step[1]) {
			t.Errorf("a path that ends in pg_temp: %s: want %s, got %s", step[0], step[1], got)
		}
	}
}

// TestG3PathBehindAPolicy reads a table whose policy reads a view that calls a function.
func TestG3PathBehindAPolicy(t *testing.T) {
	server, g, c := pathGate(t)
	server.Exec(t, "postgres", `create table public.guarded (id int); create view public.seen as select public.first() as v;
		create policy p on public.guarded using (exists (select from public.seen)); alter table public.guarded enable row level security; alter table public.guarded force row level security`)
	fe := frontend(t, g, c, "postgres")
	for _, step := range [][2]string{{"set search_path = one, public", "SET"}, {"select id from public.guarded", "CDA-2004"}} {
		if got := mayProve["simple"](fe, step[0]); !strings.Contains(got, step[1]) {
			t.Errorf("%s: want %s, got %s", step[0], step[1], got)
		}
	}
}
