//go:build linux && cgo

package explain

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/sql"
	"github.com/cardea-dev/cardea/proxy/sql/postgres"
	"github.com/cardea-dev/cardea/proxy/sql/postgres/parser"
)

// WorkerMain serves as a parser worker and does not return if this process was started as
// one. It must be called first in main.
func WorkerMain() { postgres.WorkerMain() }

// statement says what would happen to a statement in an admitted session.
func (r *Report) statement(ctx context.Context, a *policy.Admission, inTransaction bool, text []byte, db *Database) error {
	facts, err := r.analyze(ctx, a, text, db)
	if err != nil {
		return err
	}
	e := policy.Explain(a.Rules, &policy.Command{Engine: a.Request.Engine, Text: text, SQL: facts, InTransaction: inTransaction})
	r.takeDecision(e)
	if r.Masks.State == MasksNotEstablished && r.Outcome == Allowed {
		r.Outcome = NotEstablished
	}
	r.takeFacts(facts, e.Beyond, a)
	return nil
}

// analyze returns what is known of a text. Without the database the facts are what the
// text alone tells.
func (r *Report) analyze(ctx context.Context, a *policy.Admission, text []byte, db *Database) (*sql.Facts, error) {
	p := parser.New(parser.Options{Workers: 1, Timeout: 10 * time.Second})
	defer p.Close()
	input := postgres.Input{Text: text, Columns: a.Masks}
	if db != nil {
		input.Catalog = postgres.NewCatalog(db)
	}
	facts, err := postgres.NewAnalyzer(p, 0).Analyze(ctx, input)
	if err != nil {
		return nil, fmt.Errorf("analyse the statement: %w", err)
	}
	switch {
	case a.Masks.Empty():
		r.Masks = Masks{State: MasksNone}
	case !facts.Known:
		r.Masks = Masks{State: MasksNotEstablished, Message: "the statement is not understood"}
	case facts.MaskViolation == "":
		r.Masks = Masks{State: MasksEstablished}
		r.outputs(ctx, a, facts, text, db)
	case db == nil:
		r.Masks = Masks{State: MasksNotEstablished, Message: "masks depend on what names mean in the database: give it with --dsn"}
		rulesOnly := *facts
		rulesOnly.MaskViolation, rulesOnly.MaskedColumn = "", ""
		facts = &rulesOnly
	default:
		r.Masks = Masks{State: MasksViolated, Message: facts.MaskViolation, Column: facts.MaskedColumn}
	}
	return facts, nil
}

func (r *Report) outputs(ctx context.Context, a *policy.Admission, f *sql.Facts, text []byte, db *Database) {
	var names []string
	if db != nil && len(f.Outputs) > 0 {
		names = db.columns(ctx, string(text))
	}
	for i, o := range f.Outputs {
		out := Output{Withheld: !o.Known}
		if i < len(names) && len(names) == len(f.Outputs) {
			out.Name = names[i]
		}
		if o.Known && o.Mask != 0 {
			_, rule := a.Masks.Func(o.Mask)
			out.Masked = policy.RuleName(rule)
		}
		r.Outputs = append(r.Outputs, out)
	}
}

// Database is a connection whose catalog says what names mean. It serves one call at a
// time.
type Database struct{ c *pgconn.PgConn }

// Open connects to a database. Nothing is written: the session is read-only.
func Open(ctx context.Context, dsn string) (*Database, error) {
	config, err := pgconn.ParseConfig(dsn)
	if err != nil {
		return nil, fmt.Errorf("read the connection string: %w", err)
	}
	config.RuntimeParams["application_name"] = "kubectl access explain"
	config.RuntimeParams["default_transaction_read_only"] = "on"
	c, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	return &Database{c}, nil
}

// Close ends the connection.
func (d *Database) Close(ctx context.Context) { _ = d.c.Close(ctx) }

// columns returns what the server calls the columns of a statement's result; nil if it does
// not say. The statement is parsed there and not executed.
func (d *Database) columns(ctx context.Context, text string) []string {
	s, err := d.c.Prepare(ctx, "", text, nil)
	if err != nil {
		return nil
	}
	var names []string
	for _, f := range s.Fields {
		names = append(names, f.Name)
	}
	return names
}

// Query implements postgres.Querier.
func (d *Database) Query(ctx context.Context, text string) ([][]*string, error) {
	results, err := d.c.Exec(ctx, text).ReadAll()
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	var rows [][]*string
	for _, r := range results {
		rows = append(rows, texts(r.Rows)...)
	}
	return rows, nil
}

// Ask implements postgres.Querier.
func (d *Database) Ask(ctx context.Context, questions ...postgres.Question) ([][][]*string, error) {
	all := make([][][]*string, 0, len(questions))
	for _, q := range questions {
		arguments := make([][]byte, 0, len(q.Arguments))
		for _, a := range q.Arguments {
			arguments = append(arguments, []byte(a))
		}
		r := d.c.ExecParams(ctx, q.SQL, arguments, nil, nil, nil).Read()
		if r.Err != nil {
			return nil, fmt.Errorf("read the catalog: %w", r.Err)
		}
		all = append(all, texts(r.Rows))
	}
	return all, nil
}

func texts(rows [][][]byte) [][]*string {
	out := make([][]*string, 0, len(rows))
	for _, row := range rows {
		values := make([]*string, len(row))
		for i, v := range row {
			if v != nil {
				s := string(v)
				values[i] = &s
			}
		}
		out = append(out, values)
	}
	return out
}
