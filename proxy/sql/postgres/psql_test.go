package postgres_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/cardea-dev/cardea/test/pgtest"
)

var echoed = regexp.MustCompile(`(?s)\*\*\*\*\*\*\*\*\* QUERY \*\*\*\*\*\*\*\*\*\*\n(.*?)\n\*\*\*\*\*\*\*\*\*\*`)

// TestPsql checks that what psql sends for its own commands is admitted on a target with
// masks.
func TestPsql(t *testing.T) {
	s := pgtest.Start(t)
	schema(t, s, "original")
	s.Exec(t, "original", "alter table orders add constraint positive check (total > 0); create index on orders (total)")
	b := connect(t, s, newAnalyzer(t), "analyst", "pw", "original")
	for _, command := range []string{`\d`, `\dt`, `\dt+`, `\d customers`, `\d orders`, `\d+ orders`, `\d parted`, `\d+ parted1`, `\d heirs`, `\dn`, `\du`, `\l`, `\di`, `\ds`,
		`\dv`, `\dm`, `\df`, `\dT`, `\d numbers`, `\dp`, `\dx`, `\conninfo`, `\encoding`, `\dD`, `\db`, `\do`, `\d v_customers`} {
		cmd := exec.Command(pgtest.Bin(t, "psql"), "-X", "-E", "-c", command, s.URI("analyst", "original", "pw"))
		cmd.Env = append(os.Environ(), "PAGER=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
		for _, m := range echoed.FindAllStringSubmatch(string(out), -1) {
			text := strings.TrimSpace(m[1])
			f := b.analyze(t, text)
			if !admitted(f) {
				t.Errorf("%s: refused: %s\n%s", command, why(f), text)
				continue
			}
			b.send(t, text)
			if b.failed != nil {
				t.Errorf("%s: %v", command, b.failed)
			}
		}
	}
}
