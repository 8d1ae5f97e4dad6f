package differential

import (
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/cardea-dev/cardea/proxy/sql"
	"github.com/cardea-dev/cardea/proxy/sql/postgres"
	"github.com/cardea-dev/cardea/proxy/sql/postgres/parser"
	"github.com/cardea-dev/cardea/test/pgtest"
)

// probe is what the server says of the transaction that goes on: whether it has written
// (it has an ID then, and counts rows), which locks it holds beyond those of reading, and
// all settings.
const probe = `select pg_catalog.concat_ws('|', pg_catalog.pg_current_xact_id_if_assigned()::pg_catalog.text,
	case when pg_catalog.pg_current_xact_id_if_assigned() is not null then
		(select pg_catalog.sum(n_tup_ins + n_tup_upd + n_tup_del)::pg_catalog.text from pg_catalog.pg_stat_xact_all_tables) end,
	(select pg_catalog.string_agg(distinct pg_catalog.concat_ws(' ', locktype, relation, mode, classid, objid), ',') from pg_catalog.pg_locks
		where pid = pg_catalog.pg_backend_pid() and locktype in ('relation', 'advisory', 'object') and mode not in ('AccessShareLock', 'SIReadLock')),
	(select pg_catalog.sum(pg_catalog.hashtext(name || setting)) from pg_catalog.pg_settings))`

// exceptions are statements that are read and yet change something, with the reason for
// which that is accepted.
var exceptions = []struct {
	match  *regexp.Regexp
	reason string
}{
	{regexp.MustCompile(`(?i)txid_current\(|pg_current_xact_id\(|\bmy_locks\b`), "an ID is given to the transaction, and nothing written"},
	{regexp.MustCompile(`(?i)currval\(|lastval\(|\bpg_sequences\b`), "the sequence is locked against being dropped"},
	{regexp.MustCompile(`(?i)^fetch `), "the cursor was declared FOR UPDATE, and the DECLARE taken for a write"},
	{regexp.MustCompile(`(?i)current_schemas?\(`), "the session's schema for temporary tables is made, empty"},
}

func excepted(text string) string {
	for _, e := range exceptions {
		if e.match.MatchString(text) {
			return e.reason
		}
	}
	return ""
}

// reads counts the statements of the regression tests by their classification.
type reads struct {
	t        *testing.T
	analyzer *postgres.Analyzer

	mu                                  sync.Mutex
	file                                string
	statements, read, unknown, accepted int
}

// onlyReads reports whether a command is a read by its classification.
func onlyReads(f *sql.Facts) bool {
	if !f.Known || len(f.Nodes) == 0 {
		return false
	}
	for _, n := range f.Nodes {
		if n.Group != sql.GroupRead {
			return false
		}
	}
	return true
}

// query forwards a Query. What is classified as a read runs in a transaction, and the
// server is asked before and after it.
func (d *reads) query(w *wire, text []byte) error {
	facts, err := d.analyzer.Analyze(d.t.Context(), postgres.Input{Text: text})
	if err != nil {
		return err
	}
	d.mu.Lock()
	d.statements++
	if !facts.Known {
		d.unknown++
	}
	isRead := onlyReads(facts)
	if isRead {
		d.read++
	}
	d.mu.Unlock()
	if !isRead || w.status == 'E' {
		return w.forward(text)
	}
	outside, begin := w.status == 'I', ""
	if outside {
		begin = "begin; "
	}
	before, err := w.ask(begin + probe)
	if err != nil {
		return err
	}
	if _, err := w.server.Write(queryMessage(text)); err != nil {
		return err
	}
	if err := w.answers(false); err != nil {
		return err
	}
	after, status, end := before, w.status, ""
	if outside {
		status, end = 'I', "; commit"
	}
	switch {
	case w.status == 'T':
		if after, err = w.ask(probe + end); err != nil {
			return err
		}
	case outside:
		if _, err = w.ask("rollback"); err != nil {
			return err
		}
	}
	if after != before {
		d.differs(string(text), before, after)
	}
	return w.ready(status)
}

func (d *reads) differs(text, before, after string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if reason := excepted(text); reason != "" {
		d.accepted++
		return
	}
	d.t.Errorf("%s: taken for a read, and the server changed from %s to %s:\n%s", d.file, before, after, text)
}

// TestNoWriteIsTakenForARead runs every file, statement by statement, on a real server.
func TestNoWriteIsTakenForARead(t *testing.T) {
	s := start(t)
	folder := source(t, s)
	p := parser.New(parser.Options{Timeout: time.Minute, Wait: time.Minute})
	t.Cleanup(p.Close)
	d := &reads{t: t, analyzer: postgres.NewAnalyzer(p, 1000)}
	r := newRelay(t, s.Port, s.CAFile, "postgres", s.Password, d.query)
	for _, name := range sample(t, folder, regexp.MustCompile(`(?i)\b(nextval|setval|set_config|pg_notify|for update|for share|advisory)`)) {
		d.mu.Lock()
		d.file = name
		d.mu.Unlock()
		run(t, folder, name, r)
	}
	t.Logf("%d messages, %d of them reads, %d not understood, %d exceptions", d.statements, d.read, d.unknown, d.accepted)
	if d.statements < 5000 || d.read < 2000 {
		t.Errorf("only %d messages and %d reads were tried", d.statements, d.read)
	}
	mustWork(t, s)
}

// mustWork checks that the tests ran far enough to leave their tables.
func mustWork(t *testing.T, s *pgtest.Server) {
	t.Helper()
	if rows := s.Query(t, database, "select count(*) from tenk1"); rows[0][0] != "10000" {
		t.Errorf("tenk1 has %s rows", rows[0][0])
	}
}
