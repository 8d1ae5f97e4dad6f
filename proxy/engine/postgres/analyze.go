package postgres

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/sql"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
)

// known is what is known of a text under one state of the policy. Masks mean something
// under that state alone.
type known struct {
	facts     *sql.Facts
	admission *policy.Admission
	masked    bool
	// remembered says that the facts are of an earlier analysis, so that a change of
	// definitions since is no reason to refuse.
	remembered bool
}

// stale reports whether the policy is another one than k was made under.
func (k *known) stale(a *policy.Admission) bool { return k.admission.Version != a.Version }

var errFailedTransaction = &failure{state: stateFailed, message: "current transaction is aborted, commands ignored until end of transaction block"}

// analyze establishes what is known of a text. An error is a refusal, or ends the session.
func (r *relay) analyze(ctx context.Context, text []byte) (*known, error) {
	k := &known{admission: r.s.Admission()}
	k.masked = !k.admission.Masks.Empty()
	if k.masked && !r.up.tested() {
		return nil, untested()
	}
	if err := r.sameReading(ctx, text); err != nil {
		return nil, err
	}
	in := pgsql.Input{Text: text, Columns: k.admission.Masks, Catalog: r.catalog, Version: k.admission.Version}
	if k.masked {
		if k.facts = pgsql.Remembered(in); k.facts != nil && r.check(func() bool { return r.status != failed }) {
			k.remembered = true
			return k, nil
		}
		// The catalog has to show what is there when this text's turn comes.
		if err := r.answered(ctx); err != nil {
			return nil, err
		}
	}
	if r.check(func() bool { return r.status == failed }) {
		in.Catalog = nil
	}
	facts, err := r.engine.c.Analyzer.Analyze(ctx, in)
	if err != nil {
		return nil, r.unestablished(ctx, err)
	}
	k.facts, k.remembered = facts, pgsql.FromMemory(facts)
	return k, nil
}

// verify reads the definitions again that k relies on, under the target's locks.
func (r *relay) verify(ctx context.Context, k *known) error {
	if k.facts.Definitions == nil {
		return nil
	}
	err := r.deferFor(ctx, k.facts)
	if err == nil {
		err = r.engine.c.Analyzer.Verify(ctx, k.facts, r.catalog)
	}
	if err != nil {
		return r.unestablished(ctx, err)
	}
	return nil
}

// unestablished turns an error of the analysis into a refusal. What the target or the
// client's cancel request said goes to the client as it is.
func (r *relay) unestablished(ctx context.Context, err error) error {
	var f *failure
	switch {
	case ctx.Err() != nil:
		return errEnded
	case errors.Is(err, errSkipped):
		return errSkipped
	case errors.As(err, &f):
		return f
	case errors.Is(err, pgsql.ErrDefinitionChanged):
		return changed()
	case errors.Is(err, pgsql.ErrOldSnapshot):
		return &policy.Refusal{Code: policy.CodeMaskedColumn, Message: "a definition that the statement relies on is another one than the transaction sees by its snapshot, or is not committed",
			Hint: "roll back and begin again; on a target with masks a transaction of REPEATABLE READ or SERIALIZABLE uses definitions that were committed before it began"}
	case errors.Is(err, pgsql.ErrLockAfterSnapshot):
		return &policy.Refusal{Code: policy.CodeMaskedColumn, Message: "LOCK is refused in a transaction of REPEATABLE READ or SERIALIZABLE on a target with masks: its snapshot would be from before the lock",
			Hint: "lock in a transaction of READ COMMITTED, or the rows with SELECT FOR UPDATE"}
	}
	return &policy.Refusal{Code: policy.CodeUnknownCommand, Message: "what the command does could not be established, and what is not understood is denied",
		Hint: "send it again; an administrator can help if it stays"}
}

func changed() *policy.Refusal {
	return &policy.Refusal{Code: policy.CodeDefinitionChange, Message: "a definition changed between the analysis of the command and its execution, so it was not executed",
		Hint: "send the command again"}
}

func changedPath() *policy.Refusal {
	return &policy.Refusal{Code: policy.CodeDefinitionChange, Message: "search_path may have changed since the portal was bound, so it was not executed",
		Hint: "bind it again"}
}

// mayOwnPath refuses to give the session its first own path within a transaction that has
// written: triggers that wait for its end would follow it.
func (r *relay) mayOwnPath(k *known) error {
	if !k.masked || !k.facts.SetsPath || r.catalog.OwnPath() || !r.wrote {
		return nil
	}
	if r.outside() {
		r.wrote = false
		return nil
	}
	return &policy.Refusal{Code: policy.CodeMaskedColumn, Message: "search_path is refused in a transaction that has written, on a target with masks: triggers that run at its end would follow it",
		Hint: "set it before, or after the transaction"}
}

// isChanged reports whether a refusal is for a definition that changed.
func isChanged(err error) bool {
	refusal := new(policy.Refusal)
	return errors.As(err, &refusal) && refusal.Code == policy.CodeDefinitionChange
}

// answered waits until all commands before are answered, as far as they are sent to be.
func (r *relay) answered(ctx context.Context) error {
	if err := r.until(ctx, func() bool { return r.queue.len() == 0 || r.skipping }); err != nil {
		return err
	}
	if r.check(func() bool { return r.skipping }) {
		return errSkipped
	}
	return nil
}

// sameReading makes sure that the target reads a text as the analysis does. The settings
// that bear on that are reported at the end of a pipeline, so that in one, behind commands
// that may have changed them, they have to be asked for.
func (r *relay) sameReading(ctx context.Context, text []byte) error {
	if !suspicious(text) || !r.check(r.running) && r.executes == 0 {
		return nil
	}
	if err := r.answered(ctx); err != nil || r.executes == 0 {
		return err
	}
	rows, err := r.Query(ctx, "SELECT pg_catalog.current_setting('standard_conforming_strings'), pg_catalog.current_setting('client_encoding')")
	if err != nil {
		return r.unestablished(ctx, err)
	}
	if len(rows) != 1 || len(rows[0]) != 2 || rows[0][0] == nil || rows[0][1] == nil ||
		!pinned("standard_conforming_strings", *rows[0][0]) || !pinned("client_encoding", *rows[0][1]) {
		return unpinned()
	}
	return nil
}

// pinned reports whether a parameter has a value under which statements mean to the target
// what they mean to the analysis.
func pinned(name, value string) bool {
	switch name {
	case "standard_conforming_strings":
		return value == "on"
	case "client_encoding":
		return value == "UTF8"
	}
	return true
}

// unpinned ends a session whose statements could be read in two ways.
func unpinned() error {
	return &sessionEnd{&policy.Refusal{Code: policy.CodeUnknownCommand,
		Message: "standard_conforming_strings or client_encoding was changed; the session was ended because its statements could be read in two ways",
		Hint:    "leave standard_conforming_strings on and client_encoding UTF8"}}
}

// sessionEnd is a refusal that ends the session.
type sessionEnd struct{ refusal *policy.Refusal }

func (e *sessionEnd) Error() string { return e.refusal.Error() }

func untested() *policy.Refusal {
	return &policy.Refusal{Code: policy.CodeTargetShut, Message: "the target's PostgreSQL version is not one that masking was tested with",
		Hint: "ask an administrator; versions " + pgsql.SupportedMajors() + " are"}
}

// refused records a command that the engine refuses before a rule is asked. Errors that
// are no refusal stay what they are.
func (r *relay) refused(text []byte, k *known, err error) error {
	cmd := &policy.Command{Engine: Name, Text: text, Context: r.meaning(nil)}
	if k != nil {
		cmd.SQL = k.facts
	}
	refusal := new(policy.Refusal)
	if errors.As(err, &refusal) {
		return r.s.Refuse(cmd, refusal)
	}
	var f *failure
	if !errors.As(err, &f) {
		return err
	}
	rerr := r.s.Refuse(cmd, &policy.Refusal{Code: policy.CodeUnknownCommand, Message: "the target cannot be asked: " + f.message})
	if errors.As(rerr, &refusal) {
		return f
	}
	return rerr
}

// admit refuses SQL's statements about prepared statements and cursors while the protocol
// has such of its own: they share names, so that one could take the other's place after
// the decision on it.
func (n *sqlNames) admit(r *relay, f *sql.Facts) error {
	both := func(what string) error {
		return &policy.Refusal{Code: policy.CodeUnknownCommand, Message: what + " in SQL is refused while the session has such of the protocol's own by name",
			Hint: "use one of the two kinds in a session"}
	}
	if hasKind(f, "Prepare") && named(r.statements) {
		return both("PREPARE")
	}
	if hasKind(f, "Declare", "Fetch", "Close") && named(r.portals) {
		return both("a cursor")
	}
	return nil
}

// note remembers what a forwarded command has made.
func (n *sqlNames) note(text []byte, f *sql.Facts) {
	if hasKind(f, "Prepare") {
		n.prepared = true
	}
	if hasKind(f, "Declare") {
		n.cursors = true
		n.holdable = n.holdable || strings.Contains(strings.ToUpper(string(text)), "HOLD")
	}
}

func hasKind(f *sql.Facts, kinds ...sql.Kind) bool {
	return slices.ContainsFunc(f.Nodes, func(n sql.Node) bool { return slices.Contains(kinds, n.Kind) })
}

func named[T any](m map[string]T) bool {
	if _, unnamed := m[""]; unnamed {
		return len(m) > 1
	}
	return len(m) > 0
}
