package postgres

import (
	"context"
	"errors"
	"fmt"

	pgquery "github.com/pganalyze/pg_query_go/v6"
	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/proto"

	"github.com/cardea-dev/cardea/proxy/sql"
	"github.com/cardea-dev/cardea/proxy/sql/postgres/parser"
)

// WorkerMain serves as a parser worker and does not return if this process was started
// as one; else it returns at once. It must be called first in main, and in TestMain of
// packages that analyse.
func WorkerMain() { parser.WorkerMain() }

// Input is one text to be analysed.
type Input struct {
	// Text is one Query or Parse message's text. It is borrowed for the call.
	Text []byte
	// Columns tells which columns are masked; nil or empty if none is.
	Columns sql.Columns
	// Catalog is that of the session's own backend, which must be idle or in a transaction
	// that has not failed. Without it nothing that depends on definitions is admitted: on a
	// target with masks only the end of a transaction, elsewhere everything but EXECUTE. It
	// is asked only if the analysis needs it.
	Catalog *Catalog
	// Version is that of the policy that Columns belongs to. If it is not empty, what is
	// known of the text is remembered in Catalog.
	Version string
}

// Analyzer establishes facts. It is safe for concurrent use, except that a Catalog serves
// one call at a time.
type Analyzer struct {
	parser *parser.Parser
	cache  *cache
	// templates are of texts that need no catalog.
	templates templates
	// texts bounds the bytes of all texts being analysed at one time: trees are many times
	// as large as their texts.
	texts  *semaphore.Weighted
	masked *identities
}

// maxTexts is how many bytes of text are analysed at one time.
const maxTexts = 4 * parser.MaxText

// NewAnalyzer returns an analyser that reads with p and remembers about the given number
// of texts that need no catalog; zero remembers none. The caller closes p.
func NewAnalyzer(p *parser.Parser, remember int) *Analyzer {
	return &Analyzer{parser: p, cache: newCache(remember), templates: templates{most: remember}, texts: semaphore.NewWeighted(maxTexts),
		masked: newIdentities()}
}

// Analyze returns what is known of a text. The facts are shared and must not be changed.
// A text that cannot be understood is no error: its facts are not Known. An error is that
// of ctx, or says that the catalog could not be read; the command must be refused then.
func (a *Analyzer) Analyze(ctx context.Context, in Input) (*sql.Facts, error) {
	masked := in.Columns != nil && !in.Columns.Empty()
	if !masked {
		in.Catalog.disown()
		if f := a.cache.get(in.Text); f != nil {
			return f, nil
		}
		if f := a.templates.get(in.Text); f != nil {
			return f, nil
		}
	}
	weight := int64(min(len(in.Text), maxTexts) + 1)
	if err := a.texts.Acquire(ctx, weight); err != nil {
		return nil, fmt.Errorf("analyse a statement: %w", err)
	}
	defer a.texts.Release(weight)
	return a.examine(ctx, in, masked)
}

func (a *Analyzer) examine(ctx context.Context, in Input, masked bool) (*sql.Facts, error) {
	tree, facts, err := a.read(ctx, in.Text)
	if err != nil || tree == nil {
		return facts, err
	}
	c := classifier{facts: facts, text: in.Text}
	c.command(tree)
	if err := a.resolveExecute(ctx, &c, in.Catalog); err != nil {
		return nil, err
	}
	if !masked {
		if c.facts.Known && len(c.executes) == 0 && !a.templates.put(in.Text, tree, facts) {
			a.cache.put(in.Text, facts)
		}
		return facts, nil
	}
	if err := a.trace(ctx, tree, facts, in); err != nil {
		return nil, err
	}
	if facts.MaskViolation != "" && FromMemory(facts) {
		// A refusal is not verified later: it has to hold now.
		in.Catalog.Forget()
		return a.examine(ctx, in, masked)
	}
	if in.Catalog != nil && len(c.executes) == 0 && !makesOrUses(facts) {
		in.Catalog.remember(&in, tree, facts)
	}
	return facts, nil
}

// read parses a text. Without a tree the facts say why there is none.
func (a *Analyzer) read(ctx context.Context, text []byte) (*pgquery.ParseResult, *sql.Facts, error) {
	facts := &sql.Facts{}
	res, err := a.parser.Parse(ctx, text)
	switch {
	case err != nil && ctx.Err() != nil:
		return nil, nil, fmt.Errorf("parse a statement: %w", err)
	case err != nil:
		facts.Unknown = sentence(err)
		facts.Fault = faultOf(err)
		return nil, facts, nil
	}
	tree := new(pgquery.ParseResult)
	if proto.Unmarshal(res.Tree, tree) != nil {
		facts.Unknown = "the statement is not valid UTF-8, or nests too deeply"
		return nil, facts, nil //nolint:nilerr // that a text cannot be read is a fact about it
	}
	facts.Lexed = true
	for i := 0; i+1 < len(res.Literals); i += 2 {
		facts.Literals = append(facts.Literals, sql.Span{Start: res.Literals[i], End: res.Literals[i+1]})
	}
	return tree, facts, nil
}

// sentence says what is wrong with a text, for its author.
func sentence(err error) string {
	var syntax *parser.SyntaxError
	switch {
	case errors.As(err, &syntax):
		return syntax.Error()
	case errors.Is(err, parser.ErrCrashed):
		return parser.ErrCrashed.Error()
	case errors.Is(err, parser.ErrTooLarge), errors.Is(err, parser.ErrTooNested), errors.Is(err, parser.ErrEncoding), errors.Is(err, parser.ErrBusy):
		return err.Error()
	}
	return "the statement cannot be parsed now"
}

// faultOf says where a text does not parse.
func faultOf(err error) sql.Fault {
	var syntax *parser.SyntaxError
	if !errors.As(err, &syntax) {
		return sql.Fault{}
	}
	return sql.Fault{Kind: sql.FaultSyntax, Position: syntax.Position,
		Advice: "correct the statement; nothing of it was executed. The gate reads the grammar of PostgreSQL 17"}
}

// makesOrUses reports whether a command makes or uses a cursor or prepared statement, which
// belongs to one text and not to all that differ in constants.
func makesOrUses(f *sql.Facts) bool {
	d, ok := f.Definitions.(*definitions)
	return ok && (d.makes != nil || d.uses != nil)
}
