package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// In a transaction of REPEATABLE READ or SERIALIZABLE queries see the catalog as it was when
// the transaction took its snapshot, while the server resolves the names of a statement by
// the catalog as it is. So there the session's own answers prove nothing alone: whoever
// replaced a view since would have the old one verified and the new one read. What an
// analysis relies on has to be told alike by the session itself, which knows its own path,
// role and temporary tables, and by a witness, another session, which sees what is committed
// now. Both are asked under the locks that the server holds for the statement.

// Witness is a Querier that can ask another session of the same login and database, in a
// transaction of its own that begins after the call.
type Witness interface {
	Witness(ctx context.Context, questions ...Question) ([][][]*string, error)
}

// Errors of statements in transactions that keep a snapshot.
var (
	// ErrOldSnapshot says that a definition is another one than the transaction sees.
	ErrOldSnapshot = errors.New("a definition is not what it was when the transaction took its snapshot")
	// ErrLockAfterSnapshot says that LOCK would come behind the snapshot that it has to
	// come before.
	ErrLockAfterSnapshot = errors.New("LOCK cannot come before the transaction's snapshot")
)

// keepsSnapshot reports whether a transaction of an isolation level has one snapshot for all
// of its statements. A level that is not known does.
func keepsSnapshot(isolation string) bool {
	return isolation != "read committed" && isolation != "read uncommitted"
}

const isolationQuery = `SELECT pg_catalog.current_setting('transaction_isolation')`

// asks returns what asks for the catalog as it is now, whatever snapshot the session has.
func (c *Catalog) asks(ctx context.Context) (func(context.Context, ...Question) ([][][]*string, error), error) {
	answers, err := c.q.Ask(ctx, Question{SQL: isolationQuery})
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	if len(answers) != 1 || len(answers[0]) != 1 || len(answers[0][0]) != 1 || answers[0][0][0] == nil {
		return nil, errCatalogAnswer
	}
	if !keepsSnapshot(*answers[0][0][0]) {
		return c.q.Ask, nil
	}
	w, ok := c.q.(Witness)
	if !ok {
		return nil, ErrOldSnapshot
	}
	return w.Witness, nil
}

// witness compares what the session was told under its snapshot with what is committed now.
func (d *definitions) witness(ctx context.Context, c *Catalog, told [][][]*string) error {
	if d.locks {
		return ErrLockAfterSnapshot
	}
	w, ok := c.q.(Witness)
	if !ok || len(told) != len(d.reads) {
		return ErrOldSnapshot
	}
	questions := make([]Question, 0, len(d.reads))
	for _, r := range d.reads {
		questions = append(questions, r.question)
	}
	own, err := c.path(ctx)
	if err != nil {
		return err
	}
	answers, err := w.Witness(ctx, append(own, questions...)...)
	if err != nil {
		return fmt.Errorf("ask a witness: %w", err)
	}
	answers = answers[min(len(own), len(answers)):]
	if len(answers) != len(told) {
		return errCatalogAnswer
	}
	for i := range told {
		if digest(lasting(told[i])) != digest(lasting(answers[i])) {
			c.Forget()
			return ErrOldSnapshot
		}
	}
	return nil
}

// path returns what gives a witness the session's path, if that is its own.
func (c *Catalog) path(ctx context.Context) ([]Question, error) {
	if !c.ownPath {
		return nil, nil
	}
	answers, err := c.q.Ask(ctx, Question{SQL: pathQuery})
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	if len(answers) != 1 || len(answers[0]) != 1 || len(answers[0][0]) != 1 || answers[0][0][0] == nil {
		return nil, errCatalogAnswer
	}
	return []Question{{SQL: setPathQuery, Arguments: []string{*answers[0][0][0]}}}, nil
}

// lasting leaves out of an answer what is of the session's own temporary schema, which no
// other session can see or change.
func lasting(rows [][]*string) [][]*string {
	temp := ""
	for _, row := range rows {
		if v := values(row); v[0] == "temp" {
			temp = v[1]
		}
	}
	var out, path [][]*string
	for _, row := range rows {
		v := values(row)
		switch {
		case v[0] == "temp", temp != "" && v[0] == "schema" && v[1] == temp:
		case v[0] == "schema":
			path = append(path, row)
		case temp != "" && v[2] == temp && (v[0] == "relation" || v[0] == "function" || v[0] == "operator" || v[0] == "type"):
		default:
			out = append(out, row)
		}
	}
	// The path counts its schemas.
	slices.SortFunc(path, func(a, b []*string) int {
		x, errA := strconv.Atoi(values(a)[2])
		y, errB := strconv.Atoi(values(b)[2])
		if errA != nil || errB != nil {
			return 0
		}
		return cmp.Compare(x, y)
	})
	for i, row := range path {
		row = slices.Clone(row)
		at := strconv.Itoa(i)
		row[2] = &at
		out = append(out, row)
	}
	return out
}
