package clients

import (
	"os"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/test/gatetest"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// What pgAdmin, DBeaver, DataGrip, Grafana, Metabase, Hasura, PostgREST and Rails ask when
// they start is answered, with masks and without.
func TestToolsStart(t *testing.T) {
	s := start(t)
	b, err := os.ReadFile("testdata/tools.sql")
	if err != nil {
		t.Fatal(err)
	}
	// What stands on one line is one message.
	script := "\\set ECHO errors\n" + strings.ReplaceAll(string(b), "; SE", "\\; SE")
	if _, errs, _ := try(t, direct(s), script, pgtest.Bin(t, "psql"), "-X"); strings.Contains(errs, "ERROR") {
		t.Fatalf("without the gate:\n%s", errs)
	}
	gates(t, s, func(t *testing.T, g *gatetest.Gate, _ bool) {
		if out, errs, err := try(t, g.Environment(database), script, pgtest.Bin(t, "psql"), "-X"); err != nil || strings.Contains(errs, "ERROR") {
			t.Errorf("%v:\n%s", err, errs)
		} else {
			noCanary(t, out)
		}
	})
}
