package standalone

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// numbered is one transaction of pgbench with a number that no other has.
const numbered = `\set i :i + 1
\set n 700000000 + :client_id * 1000000 + :i
select :n, id from orders where id = 1;
`

var mark = regexp.MustCompile(`\b70[0-3][0-9]{6}\b`)

// G6: a proxy that is killed while several clients are busy, in each mode of the protocol,
// leaves recordings that are intact and hold every command that the server executed.
func TestG6KilledUnderLoad(t *testing.T) {
	for _, mode := range []string{"simple", "extended", "prepared"} {
		t.Run(mode, func(t *testing.T) {
			db := database(t)
			g := newGate(t, db).start()
			script := filepath.Join(t.TempDir(), "numbered.sql")
			if err := os.WriteFile(script, []byte(numbered), 0o600); err != nil {
				t.Fatal(err)
			}
			bench := exec.Command(pgtest.Bin(t, "pgbench"), "-n", "-M", mode, "-f", script, "-D", "i=0", "-c", "4", "-t", "900000", g.uri())
			said := new(output)
			bench.Stdout, bench.Stderr = said, said
			if err := bench.Start(); err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			go func() { _ = bench.Wait(); close(ended) }()
			t.Cleanup(func() { _ = bench.Process.Kill(); <-ended })
			g.eventually("the server is busy for four sessions", func() bool {
				select {
				case <-ended:
					t.Fatalf("pgbench ended: %s", said.String())
				default:
				}
				return len(g.sessions()) >= 4 && len(mark.FindAllString(db.Log(t), 400)) == 400
			})
			g.signal(syscall.SIGKILL)
			<-ended // without its connections
			g.output.reset()
			g.start()

			executed, recorded := mark.FindAllString(db.Log(t), -1), map[string]bool{}
			g.eventually("every command that the server executed is in a recording that has ended", func() bool {
				sessions := g.sessions()
				for _, s := range sessions {
					if s.Status.EndedAt == nil || s.Status.Recording.State == v1alpha1.RecordingOpen {
						return false
					}
				}
				recorded = g.marks(sessions)
				return !slices.ContainsFunc(executed, func(m string) bool { return !recorded[m] })
			})
			t.Logf("%d commands recorded", len(recorded))
		})
	}
}

// marks are the numbers of the commands in the recordings of sessions, which are intact.
func (g *gate) marks(sessions []*v1alpha1.Session) map[string]bool {
	g.t.Helper()
	found := map[string]bool{}
	for _, s := range sessions {
		for _, c := range commands(g.replay(s)) {
			for _, m := range mark.FindAllString(c.Text+" "+strings.Join(c.Parameters, " "), -1) {
				found[m] = true
			}
		}
	}
	return found
}

// sessions returns all Sessions.
func (g *gate) sessions() []*v1alpha1.Session {
	g.t.Helper()
	found, err := filepath.Glob(g.path(".sessions/*.yaml"))
	if err != nil {
		g.t.Fatal(err)
	}
	var all []*v1alpha1.Session
	for _, path := range found {
		s := new(v1alpha1.Session)
		if err := yaml.UnmarshalStrict([]byte(g.read(".sessions/"+filepath.Base(path))), s); err != nil {
			g.t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}
