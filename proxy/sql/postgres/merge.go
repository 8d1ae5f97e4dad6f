package postgres

import (
	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// merge establishes MERGE: a join, of which each row is updated, deleted or inserted.
func (t *tracer) merge(m *pgquery.MergeStmt, outer *scope) []column {
	s := t.with(m.WithClause, outer)
	r, src := t.target(m.Relation)
	if r == nil {
		return nil
	}
	level := s.inner()
	own := t.add(level, src)
	from := t.from([]*pgquery.Node{m.SourceRelation}, level)
	t.use(m.JoinCondition, level, "JOIN")
	level.partial = true // rows that are not matched are of one side alone
	for _, n := range m.MergeWhenClauses {
		w := n.GetMergeWhenClause()
		if w == nil {
			t.deny("a part of MERGE is not known")
			return nil
		}
		t.use(w.Condition, level, "WHEN")
		t.mergeAction(w, r, level)
	}
	level.partial = false
	// The server lists what is merged before what it is merged into.
	return t.returning(m.ReturningList, level, src, append(append([]column(nil), from...), own...))
}

func (t *tracer) mergeAction(w *pgquery.MergeWhenClause, r *relation, level *scope) {
	switch w.CommandType {
	case pgquery.CmdType_CMD_NOTHING:
	case pgquery.CmdType_CMD_DELETE:
		t.deletable(r)
	case pgquery.CmdType_CMD_UPDATE:
		t.assignments(w.TargetList, r, level)
	case pgquery.CmdType_CMD_INSERT:
		columns, ok := t.insertedColumns(w.TargetList, r)
		if !ok {
			return
		}
		if len(w.Values) > len(columns) {
			t.deny("more values are inserted than there are columns")
			return
		}
		for i, v := range w.Values {
			t.assign(r, columns[i], v, level)
		}
	default:
		t.deny("a part of MERGE is not known")
	}
}
