package postgres

import (
	"context"
	"crypto/sha256"
	"errors"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// Querier runs a query of the analyser on the session's own backend: by the simple
// protocol, inside the open transaction if there is one, unseen by the client and by its
// recording. Values are text, nil is NULL. All names in the queries are qualified, so that
// they mean the same under any search_path. Query is called while the backend is idle or
// in a transaction that has not failed.
type Querier interface {
	Query(ctx context.Context, sql string) ([][]*string, error)
	// Ask asks questions in order, each with a snapshot of its own, and returns the rows of
	// each. Their texts are few and always the same, so that they may be prepared once.
	Ask(ctx context.Context, questions ...Question) ([][][]*string, error)
}

// Question is a query with parameters in text format.
type Question struct {
	SQL       string
	Arguments []string
	// Before is a question to be asked before this one of an assertion; nil if there is none.
	Before *Question
}

// Catalog reads definitions over one upstream session, and remembers what is known of the
// session's texts. It serves one call at a time.
type Catalog struct {
	q       Querier
	known   map[string]*sql.Facts
	texts   templates          // of texts that differ in constants from those in known
	answers map[string]*answer // to questions of earlier analyses
	version string             // of the policy under which they are known
	state   string             // the last answer to stateQuery
	calm    bool               // the last two were the same
	ownPath bool               // as OwnPath says
	settled bool               // nothing that state tells, besides the snapshot, may have changed since
	// isolation is that of the transaction in which stateQuery was answered last; empty is none
	// that is known.
	isolation string
	cursors   makings
	prepares  makings
	asserted  asserted // what Assert made last
	tripwires tripwires
	relied    *tripwire // that Assert returned last; nil if it was another assertion
	database  string    // as in identities; empty before the first survey
	surveyed  string    // the policy's version of the last survey
}

// NewCatalog returns the catalog that a session's own backend sees.
func NewCatalog(q Querier) *Catalog {
	return &Catalog{q: q, calm: true, tripwires: tripwires{of: map[string]*tripwire{}}, cursors: makings{}, prepares: makings{}, texts: templates{most: maxTextsKnown}, known: map[string]*sql.Facts{}, answers: map[string]*answer{}}
}

const (
	// maxTextsKnown and maxTextKnown bound what a session remembers.
	maxTextsKnown = 64
	maxTextKnown  = 4 << 10
	// maxAnswers and maxAnswerRows bound the answers among it.
	maxAnswers    = 32
	maxAnswerRows = 200
)

// Forget forgets what is known of all texts: definitions were changed in this session.
func (c *Catalog) Forget() {
	if c != nil {
		clear(c.known)
		c.texts.forget()
		clear(c.answers)
	}
}

// answer is what the catalog told once, under a state of the server as in definitions.
type answer struct {
	rows  [][]*string
	sum   [sha256.Size]byte
	state string
}

// remember keeps what is known of an admitted text. A refusal is not kept: nothing would
// verify it again.
func (c *Catalog) remember(in *Input, tree *pgquery.ParseResult, f *sql.Facts) {
	if in.Version == "" || f.Statements > 1 || len(in.Text) > maxTextKnown || !f.Known || f.MaskViolation != "" {
		return
	}
	if c.version != in.Version || len(c.known) >= maxTextsKnown {
		c.Forget()
		c.version = in.Version
	}
	if !c.texts.put(in.Text, tree, f) {
		c.known[string(in.Text)] = f
	}
}

// Remembered returns what an earlier analysis in the same session, under the same policy,
// established of a text; nil if there was none. It holds if Verify says so.
func Remembered(in Input) *sql.Facts {
	if in.Catalog == nil || in.Version == "" || in.Catalog.version != in.Version {
		return nil
	}
	if f := in.Catalog.known[string(in.Text)]; f != nil {
		return f
	}
	return in.Catalog.texts.get(in.Text)
}

// observe takes an answer to stateQuery and returns it in one string; empty if nothing can
// be proven by it.
func (c *Catalog) observe(rows [][]*string) string {
	state := ""
	c.isolation = ""
	if len(rows) == 1 && len(rows[0]) == stateColumns && rows[0][isolationColumn] != nil {
		c.isolation = *rows[0][isolationColumn]
	}
	// A snapshot that is kept says nothing of what others did since.
	if !keepsSnapshot(c.isolation) && rows[0][0] != nil {
		state = string(appendRow(nil, rows[0]))
	}
	c.calm = state != "" && (c.state == "" || state == c.state)
	c.state, c.settled = state, state != ""
	return state
}

// ErrDefinitionChanged says that a definition changed between analysis and execution.
var ErrDefinitionChanged = errors.New("a definition changed while the statement was prepared")
