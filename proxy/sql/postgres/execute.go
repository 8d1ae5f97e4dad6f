package postgres

import (
	"context"
	"fmt"
	"slices"
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// resolveExecute adds what the prepared statements that a command executes do. They are
// read from the backend, so that neither a name that is prepared again nor one that was
// prepared by the protocol hides anything.
func (a *Analyzer) resolveExecute(ctx context.Context, c *classifier, catalog *Catalog) error {
	if !c.facts.Known {
		return nil
	}
	for _, name := range c.executes {
		if catalog == nil {
			c.unknown("what EXECUTE runs cannot be established now")
			return nil
		}
		text, found, err := catalog.prepared(ctx, name)
		if err != nil {
			return err
		}
		switch {
		case !found && slices.Contains(c.prepares, name):
			continue
		case !found:
			c.unknown(fmt.Sprintf("there is no prepared statement %s", quoteIdent(name)))
			return nil
		}
		inner, err := a.preparedFacts(ctx, text)
		if err != nil {
			return err
		}
		if !inner.Known {
			c.unknown("the prepared statement is not known: " + inner.Unknown)
			return nil
		}
		c.merge(inner)
	}
	return nil
}

// preparedFacts classifies the text that a prepared statement was made from.
func (a *Analyzer) preparedFacts(ctx context.Context, text string) (*sql.Facts, error) {
	tree, facts, err := a.read(ctx, []byte(text))
	if err != nil || tree == nil {
		return facts, err
	}
	c := classifier{facts: facts, text: []byte(text)}
	c.command(tree)
	if len(c.executes) > 0 {
		c.unknown("a prepared statement executes another")
	}
	return facts, nil
}

// merge adds the facts of a statement that the command runs.
func (c *classifier) merge(inner *sql.Facts) {
	f := c.facts
	f.Nodes = distinct(append(f.Nodes, inner.Nodes...))
	f.Relations = union(f.Relations, inner.Relations)
	f.Functions = union(f.Functions, inner.Functions)
	f.Attributes = union(f.Attributes, inner.Attributes)
	for _, feature := range inner.Features {
		c.feature(feature)
	}
	f.Sensitive = f.Sensitive || inner.Sensitive
	f.SensitiveParameters = f.SensitiveParameters || inner.SensitiveParameters
}

// prepared returns the text that a prepared statement was made from, by SQL or by the
// protocol.
func (c *Catalog) prepared(ctx context.Context, name string) (string, bool, error) {
	return c.one(ctx, "SELECT statement FROM pg_catalog.pg_prepared_statements WHERE name OPERATOR(pg_catalog.=) "+literal(name))
}

func (c *Catalog) one(ctx context.Context, query string) (string, bool, error) {
	rows, err := c.q.Query(ctx, query)
	if err != nil {
		return "", false, fmt.Errorf("read the catalog: %w", err)
	}
	if len(rows) != 1 || len(rows[0]) != 1 || rows[0][0] == nil {
		return "", false, nil
	}
	return *rows[0][0], true, nil
}

// literal quotes a string whatever standard_conforming_strings is.
func literal(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return "E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}

// single returns the one statement of a text.
func single(tree *pgquery.ParseResult) any {
	if len(tree.Stmts) != 1 {
		return nil
	}
	return unwrap(tree.Stmts[0].Stmt)
}
