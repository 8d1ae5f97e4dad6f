package postgres

import (
	"context"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// trace establishes the lineage of a command on a target with masks.
func (a *Analyzer) trace(ctx context.Context, tree *pgquery.ParseResult, f *sql.Facts, in Input) error {
	f.MaskViolation = "the lineage of the statement is not established"
	return nil
}

// Verify reads the definitions again that f relies on, after the server has parsed the
// statement and so holds them still. ErrDefinitionChanged says that f no longer holds;
// any other error that it cannot be told. Facts that rely on no definition pass.
func (a *Analyzer) Verify(ctx context.Context, f *sql.Facts, c *Catalog) error {
	return ErrDefinitionChanged
}

// MaskedOrigin is a cross-check of a result column's origin as the server reports it. It
// returns the mask of that column of a relation which f relies on; known is false for a
// column that f does not know, whose value must be withheld.
func MaskedOrigin(f *sql.Facts, relation uint32, attribute uint16) (mask sql.MaskRef, known bool) {
	return 0, false
}
