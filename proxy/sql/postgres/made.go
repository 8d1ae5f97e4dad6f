package postgres

import (
	"context"
	"crypto/sha256"
	"fmt"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// The names of a cursor's query are resolved when it is declared. What they mean by the
// time of a FETCH says nothing of its rows: a temporary table may hide a name by then, and
// of a cursor WITH HOLD the tables may have been changed. So what was verified of DECLARE
// is kept and holds for every FETCH.
//
// It belongs to the cursor by the text that the server has of it. A cursor with a text was
// made by a DECLARE of that text; where two such were verified with different outcomes, as
// after one that failed because the cursor was there, neither is believed. Cursors that are
// gone free their text. The same holds for the statements of PREPARE, which the server may
// execute as they were resolved once.

// made is what was established of a DECLARE or PREPARE.
type made struct {
	prepares  bool
	name      string
	sum       [sha256.Size]byte // of its text
	version   string            // of the policy that masks belongs to
	outputs   []sql.Output
	relations []sql.Relation
	ownPath   bool // as Catalog.OwnPath said
	of        *definitions
}

// maxMade bounds how many cursors and prepared statements a session may use by SQL on a
// target with masks.
const maxMade = 256

// makings are what the server may have by the texts, of cursors or of prepared statements.
// nil says that it is not known what the text was resolved to.
type makings map[[sha256.Size]byte]*made

// Questions for what the session has. Their rows are of a name and a text. The portal
// without a name is the protocol's; it bears the text of the DECLARE that is about to run.
const (
	cursorsQuery  = `SELECT name, statement FROM pg_catalog.pg_cursors WHERE name OPERATOR(pg_catalog.<>) ''`
	preparedQuery = `SELECT name, statement FROM pg_catalog.pg_prepared_statements WHERE from_sql`
)

func makingsQuery(prepared bool) Question {
	if prepared {
		return Question{SQL: preparedQuery}
	}
	return Question{SQL: cursorsQuery}
}

func (c *Catalog) makings(prepared bool) makings {
	if prepared {
		return c.prepares
	}
	return c.cursors
}

// disown gives up what is known of cursors and prepared statements: commands run that are
// not traced.
func (c *Catalog) disown() {
	if c != nil {
		clear(c.cursors)
		clear(c.prepares)
	}
}

// exist asks which cursors or prepared statements there are.
func (c *Catalog) exist(ctx context.Context, prepared bool) ([][]*string, error) {
	answers, err := c.q.Ask(ctx, makingsQuery(prepared))
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	if len(answers) != 1 {
		return nil, errCatalogAnswer
	}
	for _, row := range answers[0] {
		if len(row) != 2 || row[0] == nil || row[1] == nil {
			return nil, errCatalogAnswer
		}
	}
	return answers[0], nil
}

// find returns what is known of the cursor or prepared statement with a name, and its text;
// nil if nothing is.
func (c *Catalog) find(ctx context.Context, prepared bool, name string) (*made, string, error) {
	rows, err := c.exist(ctx, prepared)
	if err != nil {
		return nil, "", err
	}
	for _, row := range rows {
		if *row[0] == name {
			return c.makings(prepared)[sha256.Sum256([]byte(*row[1]))], *row[1], nil
		}
	}
	return nil, "", nil
}

// note takes what a DECLARE or PREPARE, which is executed next, would make. Texts of which
// nothing is left are forgotten.
func (c *Catalog) note(ctx context.Context, m *made) error {
	rows, err := c.exist(ctx, m.prepares)
	if err != nil {
		return err
	}
	live := map[[sha256.Size]byte]bool{}
	for _, row := range rows {
		live[sha256.Sum256([]byte(*row[1]))] = true
	}
	known := c.makings(m.prepares)
	for sum := range known {
		if !live[sum] {
			delete(known, sum)
		}
	}
	before := known[m.sum]
	switch {
	case !live[m.sum]:
		if len(known) < maxMade {
			known[m.sum] = m
		}
	case before == nil || !before.agrees(m):
		known[m.sum] = nil
	}
	return nil
}

// agrees reports whether a text meant the same twice.
func (m *made) agrees(other *made) bool {
	return m.version == other.version && m.of.same(other.of)
}

// uses is the cursor or prepared statement that a command runs.
type uses struct {
	name string
	made *made
}

// verify makes sure that the name still belongs to what the analysis found.
func (u *uses) verify(ctx context.Context, c *Catalog) error {
	m, _, err := c.find(ctx, u.made.prepares, u.name)
	if err != nil {
		return err
	}
	if m != u.made {
		return ErrDefinitionChanged
	}
	return nil
}

// verifyMade verifies what a command makes or uses of cursors and prepared statements. It
// is last, right before the command is executed.
func (d *definitions) verifyMade(ctx context.Context, c *Catalog) error {
	if d.uses != nil {
		if err := d.uses.verify(ctx, c); err != nil {
			return err
		}
	}
	if d.makes != nil {
		return c.note(ctx, d.makes)
	}
	return nil
}

// standsFor finds what EXECUTE and FETCH stand for, and returns the statement of which the
// names are resolved now; nil if there is none.
func (a *Analyzer) standsFor(ctx context.Context, t *tracer, m any, in Input, d *definitions) (any, error) {
	u := &uses{}
	prepared := false
	switch m := m.(type) {
	case *pgquery.ExecuteStmt:
		u.name, prepared = m.Name, true
	case *pgquery.FetchStmt:
		u.name = m.Portalname
	default:
		return nil, nil
	}
	var text string
	var err error
	if u.made, text, err = in.Catalog.find(ctx, prepared, u.name); err != nil {
		return nil, err
	}
	if u.made == nil || u.made.name != u.name || u.made.version != in.Version {
		what := "the cursor " + quoteIdent(u.name) + " is not known, or was declared under another policy; declare it again"
		if prepared {
			what = "the statement " + quoteIdent(u.name) + " is not known, or was prepared under another policy; prepare it again"
		}
		t.deny(what)
		return nil, nil
	}
	d.uses = u
	if !prepared && in.Catalog.OwnPath() && !u.made.ownPath {
		t.deny("search_path was set after the cursor " + quoteIdent(u.name) + " was declared; declare it again")
		return nil, nil
	}
	if !prepared {
		t.made, d.masks, d.relations = u.made, u.made.of.masks, u.made.of.relations
		return nil, nil
	}
	t.prepared = u.made
	inner, facts, err := a.read(ctx, []byte(text))
	if err != nil {
		return nil, err
	}
	if inner == nil || !facts.Lexed {
		t.deny("the statement that is executed is not known")
		return nil, nil
	}
	t.sub[m] = single(inner)
	return t.sub[m], nil
}

// makes notes what DECLARE or PREPARE makes.
func (t *tracer) makes(m any, in Input, d *definitions) {
	made := &made{sum: sha256.Sum256(in.Text), version: in.Version, ownPath: in.Catalog.OwnPath(), of: d}
	switch m := m.(type) {
	case *pgquery.DeclareCursorStmt:
		made.name = m.Portalname
	case *pgquery.PrepareStmt:
		made.name, made.prepares = m.Name, true
	default:
		return
	}
	made.outputs, made.relations = outputs(t.later), t.relations()
	d.makes = made
}
