package standalone

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
)

// audit verifies every recording with its Session and what connects them, and returns what is
// wrong, and the Sessions in the order of their numbers.
func (g *gate) audit() (wrong []string, sessions []*v1alpha1.Session) {
	g.t.Helper()
	a := recording.Audit{Trust: g.trust()}
	paths, err := filepath.Glob(g.path(".sessions/*.yaml"))
	if err != nil {
		g.t.Fatal(err)
	}
	sessions = make([]*v1alpha1.Session, len(paths))
	for _, path := range paths {
		s := new(v1alpha1.Session)
		if err := yaml.UnmarshalStrict([]byte(g.read(filepath.Join(".sessions", filepath.Base(path)))), s); err != nil {
			g.t.Fatal(err)
		}
		n := int(s.Status.Recording.Number)
		if n < 1 || n > len(paths) || sessions[n-1] != nil {
			g.t.Fatalf("session %s has number %d of %d", s.Name, n, len(paths))
		}
		sessions[n-1] = s
		r, err := a.Verify(g.t.Context(), dir.New(g.path(".recordings")), s.Name, g.anchor(s), nil)
		if err != nil {
			g.t.Fatal(err)
		}
		for _, p := range r.Problems {
			wrong = append(wrong, s.Name+": "+p.String())
		}
	}
	for _, c := range a.Chains() {
		wrong = append(wrong, c.Problems...)
	}
	return wrong, sessions
}

// G7: what was recorded is proven by the certificate of the gate's authority alone, over
// restarts and the death of the proxy, and what is altered or taken away is named.
func TestG7RecordingsProveThemselves(t *testing.T) {
	g := newGate(t, database(t))
	run := func(end func(psql *terminal)) {
		g.output.reset()
		g.start()
		psql := g.open(g.uri())
		psql.send("select 'mark-' || id from orders where id = 1;")
		psql.expect("mark-1")
		end(psql)
	}
	stop := func(psql *terminal) {
		psql.send("\\q")
		<-psql.exited
		g.signal(syscall.SIGTERM)
	}
	run(stop)
	run(func(*terminal) { g.signal(syscall.SIGKILL) })
	run(stop)
	wrong, sessions := g.audit()
	if len(wrong) > 0 || len(sessions) != 3 {
		t.Fatalf("%d sessions, wrong: %s", len(sessions), strings.Join(wrong, "\n"))
	}

	says := func(want string) {
		t.Helper()
		if wrong, _ := g.audit(); !strings.Contains(strings.Join(wrong, "\n"), want) {
			t.Errorf("nothing says %q:\n%s", want, strings.Join(wrong, "\n"))
		}
	}
	folder := func(i int) string { return filepath.Join(".recordings", sessions[i].Name) }
	seal := g.path(filepath.Join(folder(0), "000000.json"))
	whole := g.read(filepath.Join(folder(0), "000000.json"))
	if err := os.WriteFile(seal, []byte(strings.Replace(whole, "first: 1", "first: 2", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	says(sessions[0].Name + ": segment 0 (000000.json): was altered: its signature")
	if err := os.WriteFile(seal, []byte(whole), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(g.path(folder(1))); err != nil {
		t.Fatal(err)
	}
	says("session " + sessions[1].Name + ", number 2, is missing")
}
