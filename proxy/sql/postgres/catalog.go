package postgres

import (
	"context"
	"errors"
)

// Querier runs a query of the analyser on the session's own backend: by the simple
// protocol, inside the open transaction if there is one, unseen by the client and by its
// recording. Values are text, nil is NULL. All names in the queries are qualified, so that
// they mean the same under any search_path. Query is called while the backend is idle or
// in a transaction that has not failed.
type Querier interface {
	Query(ctx context.Context, sql string) ([][]*string, error)
}

// Catalog reads definitions over one upstream session. It serves one call at a time.
type Catalog struct{ q Querier }

// NewCatalog returns the catalog that a session's own backend sees.
func NewCatalog(q Querier) *Catalog { return &Catalog{q: q} }

// ErrDefinitionChanged says that a definition changed between analysis and execution.
var ErrDefinitionChanged = errors.New("a definition changed while the statement was prepared")
