package postgres

import (
	"slices"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// Whoever approves a command is told by which path, role and settings it is meant. The
// target takes names and constants of a text by those under which it parses and binds it,
// which may be others by the time of the execution. So a statement of which an approval is
// asked is parsed again where one of them may have changed since, and its portal is not
// executed behind such a change.

// tunes reports whether a command may change what texts mean besides the catalog. What
// functions of users do, and statements and cursors that were made before, is not known.
func tunes(f *sql.Facts) bool {
	return !f.Known || f.SetsPath || hasKind(f, "Execute", "Fetch", "Call") || slices.Contains(f.Features, sql.FeatureFunctionCall) || slices.ContainsFunc(f.Nodes, func(n sql.Node) bool {
		return n.Group != sql.GroupRead && n.Group != sql.GroupWrite && n.Group != sql.GroupTransaction
	})
}

// noteTuned notes a command that went to the target.
func (r *relay) noteTuned(f *sql.Facts) {
	switch {
	case tunes(f):
		r.tunings, r.tuned = r.tunings+1, true
	case r.tuned && hasKind(f, "Commit", "Rollback"):
		r.tunings++ // it may be what it was before
	}
}

// nextEpoch begins another pipeline. The one before may have ended a transaction.
func (r *relay) nextEpoch() {
	r.epoch++
	if r.tuned {
		r.tunings++
	}
}

// outside reports whether the target is known to be in no transaction.
func (r *relay) outside() bool {
	return r.executes == 0 && r.check(func() bool { return r.status == idle && !r.queue.pending() })
}

// parsedForAnother reports whether a statement has to be approved with the parameters of b,
// and may mean something else than a text that is parsed now.
func (r *relay) parsedForAnother(st *statement, b *bindMessage) bool {
	if r.tuned && r.outside() {
		r.tuned = false
	}
	if st.tunings == r.tunings {
		return false
	}
	d := st.known.admission.Rules.Decide(&policy.Command{Engine: Name, Text: st.text, Parameters: b.parameters(r.types(st)), SQL: st.known.facts, Context: r.base, InTransaction: r.inTransaction()})
	return d.Action == policy.RequireApproval
}

// asOf is what is known of the state in which a command will be executed.
type asOf struct {
	meaning map[string]string // nil if it has to be asked for
	changed bool              // since the command was parsed and bound
}

// asOfPortal returns what is known for a portal.
func (r *relay) asOfPortal(p *portal) asOf {
	st := p.statement
	of := asOf{changed: p.tunings != r.tunings || st.tunings != r.tunings}
	if st.meaningEpoch == r.epoch && !of.changed {
		of.meaning = st.meaning
	}
	return of
}

func changedSettings() *policy.Refusal {
	return &policy.Refusal{Code: policy.CodeDefinitionChange, Message: "settings by which it is meant may have changed since the command was prepared or bound, and it needs an approval, so it was not executed",
		Hint: "prepare and bind it again"}
}
