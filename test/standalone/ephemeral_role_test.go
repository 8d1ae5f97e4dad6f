package standalone

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"github.com/cardea-dev/cardea/test/pgtest"
)

// roleDatabase is a server whose administrator for the gate is no superuser.
func roleDatabase(t *testing.T) *pgtest.Server {
	t.Helper()
	return withRoles(t, pgtest.Start(t, "log_connections = on"))
}

// withRoles makes the roles, and what they have rights to.
func withRoles(t *testing.T, s *pgtest.Server) *pgtest.Server {
	t.Helper()
	s.Exec(t, "postgres", `create role keeper login createrole password '`+upstreamPassword+`';
		create role readers; create role writers; create role strangers`)
	managed(t, s, "readers, writers")
	s.Exec(t, "postgres", "create database orders owner postgres")
	s.Exec(t, "orders", strings.ReplaceAll(schema, "to app", "to writers")+`
		create table private (id int); create schema work; grant all on schema work to readers;
		grant select on customers, orders to readers; grant select on private to strangers`)
	return s
}

// managed lets the administrator manage roles. Up to version 15 CREATEROLE alone does.
func managed(t *testing.T, s *pgtest.Server, roles string) {
	t.Helper()
	s.Exec(t, "postgres", `do $$ begin if current_setting('server_version_num')::int >= 160000 then
		execute 'grant `+roles+` to keeper with admin true, inherit false, set false'; end if; end $$`)
}

// memberships are those of the administrator.
func memberships(t *testing.T, s *pgtest.Server) [][]string {
	t.Helper()
	return s.Query(t, "postgres", `select m.roleid::regrole, m.admin_option from pg_auth_members m join pg_roles r on r.oid = m.member where r.rolname = 'keeper' order by 1`)
}

// newRoleGate is a gate whose Target makes a role for each session, without masks.
func newRoleGate(t *testing.T, db *pgtest.Server, inRoles string) *gate {
	t.Helper()
	g := newGate(t, db)
	if err := errors.Join(os.Remove(g.path("40-masking.yaml")), os.Remove(g.path("50-commands.yaml"))); err != nil {
		t.Fatal(err)
	}
	g.edit("10-login.yaml", "username: app", "username: keeper")
	g.edit("30-target.yaml", "requires: [MaskingRule, CommandRule]", "requires: []")
	g.edit("30-target.yaml", "login: {secretRef: {name: orders-login}}", "ephemeralRole: {adminSecretRef: {name: orders-login}, inRoles: ["+inRoles+"]}")
	g.edit("70-grant.yaml", "access: ReadOnly", "access: Full")
	return g
}

// roles returns the names of the roles that gates made.
func roles(t *testing.T, db *pgtest.Server) []string {
	t.Helper()
	var names []string
	for _, row := range db.Query(t, "postgres", `select rolname from pg_roles where rolname like 'cardea\_%'`) {
		names = append(names, row[0])
	}
	return names
}

func (g *gate) noRoles(when string) {
	g.t.Helper()
	g.eventually("no role is left "+when, func() bool { return len(roles(g.t, g.db)) == 0 })
}

// opened opens a session and returns the name of its role.
func (g *gate) opened(p *terminal) string {
	g.t.Helper()
	p.send(`select 'I am ' || session_user || '.';`)
	said := regexp.MustCompile(`I am (cardea_\w+)\.`)
	g.eventually("the session says its role", func() bool { return said.MatchString(p.output.String()) })
	return said.FindStringSubmatch(p.output.String())[1]
}

// A session signs in as a role of its own, which can do what the named roles can and no more.
func TestEphemeralRoleHasTheRightsOfItsRolesAlone(t *testing.T) {
	db := roleDatabase(t)
	g := newRoleGate(t, db, "readers")
	expires := time.Now().Add(2 * time.Hour).Truncate(time.Second)
	g.edit("70-grant.yaml", "duration: 1h", "expiresAt: "+expires.UTC().Format(time.RFC3339))
	g.start()
	psql := g.open(g.uri())
	name := g.opened(psql)

	row := db.Query(t, "postgres", `select rolsuper or rolcreatedb or rolcreaterole or rolreplication or rolbypassrls, rolinherit, rolcanlogin, rolconnlimit,
		extract(epoch from rolvaliduntil)::bigint, shobj_description(oid, 'pg_authid') from pg_roles where rolname = '`+name+`'`)[0]
	if diff := cmp.Diff([]string{"f", "t", "t", "2", fmt.Sprint(expires.Unix())}, row[:5]); diff != "" {
		t.Errorf("attributes of the role: -want +got\n%s", diff)
	}
	for _, want := range []string{`"gate":"shop-gate"`, `"grant":"report-agent"`, `"grantUID":`, `"session":"report-agent-`} {
		if !strings.Contains(row[5], want) {
			t.Errorf("the comment %s lacks %s", row[5], want)
		}
	}
	if len(name) > 63 || !strings.HasPrefix(name, "cardea_report_agent_") {
		t.Errorf("the role is named %s", name)
	}
	members := db.Query(t, "postgres", "select g.rolname from pg_auth_members m join pg_roles g on g.oid = m.roleid join pg_roles r on r.oid = m.member where r.rolname = '"+name+"'")
	if diff := cmp.Diff([][]string{{"readers"}}, members); diff != "" {
		t.Errorf("memberships: -want +got\n%s", diff)
	}
	psql.send("select count(*) from orders;")
	psql.expect("5")
	// Full is what the gate would let pass: what stops these is the server.
	for _, refused := range []string{"delete from orders;", "select * from private;"} {
		psql.send(refused)
		psql.expect("permission denied for table " + strings.Fields(strings.TrimSuffix(refused, ";"))[len(strings.Fields(refused))-1])
	}
	log := db.Log(t)
	if n, verifiers := strings.Count(log, "PASSWORD '"), strings.Count(log, "PASSWORD 'SCRAM-SHA-256$4096:"); n == 0 || n != verifiers {
		t.Errorf("%d passwords are in the server's log, %d of them as verifiers", n, verifiers)
	}
	psql.send(`\q`)
	g.noRoles("after the session")
}

// What CREATEROLE allows differs between releases: since version 16 the rights to the roles
// alone that were given. What a session made is handed over and its role dropped in each.
func TestEphemeralRoleOnMajors(t *testing.T) {
	for _, major := range []int{14, 16, 18} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			db := withRoles(t, pgtest.StartMajor(t, major, "log_connections = on"))
			before := memberships(t, db)
			g := newRoleGate(t, db, "readers")
			g.start()
			psql := g.open(g.uri())
			name := g.opened(psql)
			psql.send("create table work.made as select 7 as seven; select 'made ' || count(*) from work.made;")
			psql.expect("made 1")
			psql.send("delete from orders;")
			psql.expect("permission denied for table orders")
			if owner := db.Query(t, "orders", "select tableowner from pg_tables where tablename = 'made'")[0][0]; owner != name {
				t.Errorf("the table belongs to %s", owner)
			}
			psql.send(`\q`)
			g.noRoles("after the session")
			if owner := db.Query(t, "orders", "select tableowner from pg_tables where tablename = 'made'")[0][0]; owner != "readers" {
				t.Errorf("the table belongs to %s, want readers", owner)
			}
			if diff := cmp.Diff(before, memberships(t, db)); diff != "" {
				t.Errorf("memberships of the administrator: -want +got\n%s", diff)
			}
		})
	}
}

// The role goes with its session, however that ends.
func TestEphemeralRoleEndsWithItsSession(t *testing.T) {
	db := roleDatabase(t)
	for name, end := range map[string]func(*gate, *terminal){
		"the client leaves":    func(_ *gate, p *terminal) { p.send(`\q`) },
		"the client is killed": func(_ *gate, p *terminal) { _ = p.cmd.Process.Kill() },
		"the grant is revoked": func(g *gate, _ *terminal) { g.edit("70-grant.yaml", "spec:\n", "spec:\n  desiredState: Revoked\n") },
		"a statement runs": func(g *gate, p *terminal) {
			p.send("select pg_sleep(100);")
			g.eventually("it runs", func() bool { return active(g) == 1 })
			g.edit("70-grant.yaml", "spec:\n", "spec:\n  desiredState: Revoked\n")
		},
		"the proxy stops": func(g *gate, _ *terminal) {
			g.signal(syscall.SIGTERM)
			if left := roles(g.t, g.db); len(left) > 0 {
				g.t.Errorf("%v are left when the proxy has ended", left)
			}
		},
		"the proxy is killed": func(g *gate, p *terminal) {
			p.send("select pg_sleep(100);")
			g.eventually("it runs", func() bool { return active(g) == 1 })
			g.signal(syscall.SIGKILL)
			if left := roles(g.t, g.db); len(left) != 1 {
				g.t.Errorf("%v are left of the session of a killed proxy", left)
			}
			g.output.reset()
			g.start()
		},
		"the proxy is killed between": func(g *gate, p *terminal) {
			g.signal(syscall.SIGKILL)
			g.output.reset()
			g.start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRoleGate(t, db, "readers").start()
			psql := g.open(g.uri())
			g.opened(psql)
			if n := len(roles(t, db)); n != 1 {
				t.Fatalf("%d roles are there for one session", n)
			}
			end(g, psql)
			g.noRoles("after that")
			if n := active(g); n != 0 {
				t.Errorf("%d statements run on", n)
			}
		})
	}
}

// active is how many statements of clients run.
func active(g *gate) int {
	g.t.Helper()
	return len(g.db.Query(g.t, "postgres", "select 1 from pg_stat_activity where state = 'active' and query like 'select pg_sleep%'"))
}

// What a session made stays, as a possession of the role that it acted for.
func TestEphemeralRoleLeavesWhatItMade(t *testing.T) {
	db := roleDatabase(t)
	before := memberships(t, db)
	g := newRoleGate(t, db, `writers, readers`).start()
	out, code := g.psql(g.uri(), "create table work.report as select * from orders", "create view work.short as select id from work.report",
		"create temp table scratch (id int)")
	if code != 0 {
		t.Fatal(out)
	}
	g.noRoles("after the session")
	// writers comes first and may create nothing in that schema.
	got := db.Query(t, "orders", "select relname, relowner::regrole from pg_class where relnamespace = 'work'::regnamespace and relkind in ('r','v') order by 1")
	for _, row := range got {
		if row[1] != "writers" && row[1] != "readers" {
			t.Errorf("%s belongs to %s", row[0], row[1])
		}
	}
	if len(got) != 2 {
		t.Errorf("of two relations there are %v", got)
	}
	if diff := cmp.Diff(before, memberships(t, db)); diff != "" {
		t.Errorf("memberships of the administrator: -before +after\n%s", diff)
	}
}

// Many sessions at a time have a role each, made over few connections.
func TestEphemeralRolesOfManySessions(t *testing.T) {
	const sessions = 50
	db := roleDatabase(t)
	g := newRoleGate(t, db, "readers").start()
	uri := g.uri()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var wg, open sync.WaitGroup
	open.Add(sessions)
	names, leave := make([]string, sessions), make(chan struct{})
	for i := range sessions {
		wg.Go(func() {
			c, err := pgx.Connect(ctx, uri)
			if err == nil {
				err = c.QueryRow(ctx, "select session_user::text").Scan(&names[i])
			}
			open.Done()
			if err != nil {
				t.Error(err)
				return
			}
			<-leave
			c.Close(ctx)
		})
	}
	open.Wait()
	if n := len(roles(t, db)); n != sessions {
		t.Errorf("%d roles are there for %d sessions", n, sessions)
	}
	close(leave)
	wg.Wait()
	distinct := map[string]bool{}
	for _, n := range names {
		distinct[n] = true
	}
	if len(distinct) != sessions {
		t.Errorf("%d sessions had %d roles", sessions, len(distinct))
	}
	g.noRoles("after them")
	if n := strings.Count(db.Log(t), "connection authorized: user=keeper"); n >= sessions {
		t.Errorf("the administrator signed in %d times for %d sessions", n, sessions)
	}
}

// What the administrator's login may not do is said to administrators, and to the client
// only that it was refused.
func TestEphemeralRoleThatCannotBeMade(t *testing.T) {
	db := roleDatabase(t)
	db.Exec(t, "postgres", "create role humble login password '"+upstreamPassword+"'")
	for name, tc := range map[string]struct{ user, inRoles, want string }{
		"no CREATEROLE":    {"humble", "readers", "needs CREATEROLE"},
		"no such role":     {"keeper", "nobody", "a role of inRoles does not exist"},
		"a superuser role": {"keeper", "postgres", "needs CREATEROLE"},
		"an odd name":      {"keeper", `'x"; drop role readers; --'`, "a role of inRoles does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newRoleGate(t, db, tc.inRoles)
			g.edit("10-login.yaml", "username: keeper", "username: "+tc.user)
			g.start()
			out, code := g.psql(g.uri(), "select 1")
			if code == 0 || !strings.Contains(out, "the target's role for this session cannot be made") || strings.Contains(out, "CREATEROLE") || strings.Contains(out, "SQLSTATE") {
				t.Errorf("psql ended with %d and said: %s", code, out)
			}
			g.eventually("the reason is told to administrators", func() bool { return strings.Contains(g.output.String(), tc.want) })
			g.noRoles("after a refusal")
		})
	}
	if n := len(db.Query(t, "postgres", "select 1 from pg_roles where rolname = 'readers'")); n != 1 {
		t.Error("a name of inRoles was executed")
	}
}

// Roles that no gate made, and those of sessions that live on elsewhere, are left alone.
func TestEphemeralRolesOfOthersAreLeftAlone(t *testing.T) {
	db := roleDatabase(t)
	old := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	comment := func(proxy string) string {
		return fmt.Sprintf(`cardea {"gate":"g","grant":"g","grantUID":"u","session":"elsewhere-abcde","proxy":%q,"since":%q}`, proxy, old)
	}
	db.Exec(t, "postgres", `create role cardea_plain login;
		create role cardea_spoken login; comment on role cardea_spoken is 'cardea is a goddess';
		create role cardea_lives login password 'lives'; comment on role cardea_lives is '`+comment("other")+`';
		create role cardea_dead login; comment on role cardea_dead is '`+comment("other")+`';
		create role cardea_over login password 'over' valid until '2001-01-01'; comment on role cardea_over is '`+comment("other")+`'`)
	managed(t, db, "cardea_plain, cardea_spoken, cardea_lives, cardea_dead, cardea_over")
	lives, err := pgx.Connect(context.Background(), db.URI("cardea_lives", "orders", "lives"))
	if err != nil {
		t.Fatal(err)
	}
	defer lives.Close(context.Background())
	g := newRoleGate(t, db, "readers").start()
	want := []string{"cardea_lives", "cardea_plain", "cardea_spoken"}
	g.eventually("what is over is dropped", func() bool {
		got := roles(t, db)
		return len(got) <= len(want)
	})
	got := db.Query(t, "postgres", `select string_agg(rolname, ' ' order by rolname) from pg_roles where rolname like 'cardea\_%'`)[0][0]
	if got != strings.Join(want, " ") {
		t.Errorf("left are %s, want %v", got, want)
	}
	if _, err := lives.Exec(context.Background(), "select 1"); err != nil {
		t.Errorf("a session that lives was cut: %v", err)
	}
}
