package postgres

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/session"
)

// roleBench is the upkeep of a gate whose process began at noon.
func roleBench(t *testing.T, now time.Time, ended ...string) *roles {
	t.Helper()
	e := &Engine{c: Config{Now: func() time.Time { return now }, Random: bytes.NewReader(bytes.Repeat([]byte{7}, 1000)),
		Upkeep: &Upkeep{Proxy: "proxy-a", Ended: func(s string) bool { return len(ended) > 0 && s == ended[0] }}}}
	e.roles = newRoles(e)
	e.roles.began = noon
	return e.roles
}

var noon = time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)

func TestRoleNames(t *testing.T) {
	r := roleBench(t, noon)
	for grant, want := range map[string]string{
		"report-agent":           "cardea_report_agent_",
		"a.b":                    "cardea_a_b_",
		strings.Repeat("x", 253): "cardea_" + strings.Repeat("x", 30) + "_",
		`"; drop role y; --`:     "cardea____drop_role_y_____",
	} {
		o := &role{roles: r}
		if err := o.name(grant); err != nil {
			t.Fatal(err)
		}
		if name := o.login.Username; !strings.HasPrefix(name, want) || len(name) > 63 || len(name) != len(want)+24 {
			t.Errorf("the role of grant %s is named %s", grant, name)
		}
		if len(o.login.Password) != 43 {
			t.Errorf("the password has %d characters, want 256 bits", len(o.login.Password))
		}
	}
	if err := (&role{roles: roleBench(t, noon)}).name("g"); err != nil {
		t.Fatal(err)
	}
	empty := roleBench(t, noon)
	empty.engine.c.Random = strings.NewReader("")
	if err := (&role{roles: empty}).name("g"); err == nil {
		t.Error("a role is named without randomness")
	}
}

func TestRoleStatementQuotes(t *testing.T) {
	target := &v1alpha1.Target{}
	grant := &v1alpha1.AccessGrant{}
	grant.Name, grant.Namespace, grant.UID = "it's", "ns", "uid"
	a := &policy.Admission{Target: target, Grant: grant, ExpiresAt: noon.Add(time.Hour)}
	s := session.New(session.Config{Name: "s", Admission: a})
	o := &role{roles: roleBench(t, noon), session: s}
	if err := o.name("g"); err != nil {
		t.Fatal(err)
	}
	statement, err := o.create(&v1alpha1.EphemeralRole{InRoles: []string{"readers", `odd"; DROP ROLE x; --`}}, noon)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`IN ROLE "readers", "odd""; DROP ROLE x; --"`, "VALID UNTIL '2030-01-01T13:00:00Z'", "PASSWORD 'SCRAM-SHA-256$4096:", `"grant":"it''s"`,
		" NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS", " CONNECTION LIMIT 2 ",
	} {
		if !strings.Contains(statement, want) {
			t.Errorf("%q is missing in %s", want, statement)
		}
	}
	if strings.Contains(statement, o.login.Password) {
		t.Error("the password is in the statement")
	}
}

// Whose session lives is left alone; that it does is said by more than a name.
func TestRoleIsOver(t *testing.T) {
	comment := func(proxy string, since time.Time) string {
		return `cardea {"gate":"g","grant":"g","grantUID":"u","session":"s","proxy":"` + proxy + `","since":"` + since.Format(time.RFC3339) + `"}`
	}
	before, after := noon.Add(-time.Hour), noon.Add(time.Minute)
	for name, tc := range map[string]struct {
		role, comment string
		expired, used bool
		ended, live   bool
		over          bool
		now           time.Time
		want          bool
	}{
		"in use":                                {comment: comment("proxy-b", before), used: true},
		"in use, expired":                       {comment: comment("proxy-b", before), used: true, expired: true, want: true},
		"in use, its session has ended":         {comment: comment("proxy-b", before), used: true, ended: true, want: true},
		"in use, of the process before":         {comment: comment("proxy-a", before), used: true},
		"unused, of the process before":         {comment: comment("proxy-a", before), want: true},
		"unused for long, of another":           {comment: comment("proxy-b", before), want: true},
		"just made by another":                  {comment: comment("proxy-b", after), now: after.Add(time.Second)},
		"just made by this one":                 {comment: comment("proxy-a", after), now: after.Add(time.Second)},
		"of a connection that was, of this one": {comment: comment("proxy-a", after), now: after.Add(time.Second), over: true, want: true},
		"made in a future":                      {comment: comment("proxy-b", after.Add(time.Hour))},
		"of a live session of this one":         {comment: comment("proxy-a", before), expired: true, ended: true, live: true},
		"without a comment":                     {comment: "", expired: true},
		"with a comment of somebody's":          {comment: "cardea is a goddess", expired: true},
		"with a comment in part":                {comment: `cardea {"gate":"g"}`, expired: true},
		"with a comment, named otherwise":       {role: "readers", comment: comment("proxy-b", before), expired: true},
	} {
		t.Run(name, func(t *testing.T) {
			now := tc.now
			if now.IsZero() {
				now = noon.Add(time.Second)
			}
			r := roleBench(t, now)
			if tc.ended {
				r = roleBench(t, now, "s")
			}
			if tc.role == "" {
				tc.role = "cardea_x"
			}
			if tc.live {
				r.live[tc.role] = true
			}
			if tc.over {
				r.over[tc.role] = "target"
			}
			if got := r.isOver(tc.role, tc.comment, tc.expired, tc.used); got != tc.want {
				t.Errorf("isOver = %t, want %t", got, tc.want)
			}
		})
	}
}

// A role is dropped once, and one that was not made is none.
func TestRoleEndsOnce(t *testing.T) {
	r := roleBench(t, noon)
	o := &role{roles: r}
	o.end()
	target := &v1alpha1.Target{}
	target.UID = "target"
	s := session.New(session.Config{Name: "s", Admission: &policy.Admission{Target: target}})
	o = &role{roles: r, session: s, login: session.Login{Username: "cardea_x", Password: "secret"}}
	r.enter(o)
	o.end()
	o.end()
	(*role)(nil).end()
	if len(r.ended) != 1 || r.isLive("cardea_x") {
		t.Errorf("%d roles are to be dropped", len(r.ended))
	}
	if !r.knownOver("cardea_x") {
		t.Error("that its connection ended is not known until it is dropped")
	}
	r.forgetTargets(nil, map[types.UID]bool{"target": true})
	if !r.knownOver("cardea_x") {
		t.Error("it is forgotten while its Target is there")
	}
	r.forgetTargets(nil, nil)
	if r.knownOver("cardea_x") {
		t.Error("it is remembered when its Target is gone")
	}
	if gone := <-r.ended; gone.login.Password != "" {
		t.Error("the password is kept although the session is over")
	}
}

func TestDecodeRow(t *testing.T) {
	for name, tc := range map[string]struct {
		in   string
		want []string
		ok   bool
	}{
		"values":    {"\x00\x02\x00\x00\x00\x01a\xff\xff\xff\xff", []string{"a", ""}, true},
		"cut":       {"\x00\x02\x00\x00\x00\x05a", nil, false},
		"too long":  {"\x00\x01\x7f\xff\xff\xffa", nil, false},
		"left over": {"\x00\x00x", nil, false},
	} {
		got, err := decodeRow([]byte(tc.in))
		if (err == nil) != tc.ok || tc.ok && strings.Join(got, "|") != strings.Join(tc.want, "|") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
