package postgres

import (
	"os"
	"testing"
	"time"

	"github.com/cardea-dev/cardea/proxy/sql/postgres/parser"
)

func TestMain(m *testing.M) {
	WorkerMain()
	os.Exit(m.Run())
}

func newAnalyzer(t testing.TB) *Analyzer {
	t.Helper()
	p := parser.New(parser.Options{Timeout: time.Minute, Wait: time.Minute})
	t.Cleanup(p.Close)
	return NewAnalyzer(p, 1000)
}
