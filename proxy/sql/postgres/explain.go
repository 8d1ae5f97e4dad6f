package postgres

import (
	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// What EXPLAIN prints goes to the client and into recordings as it is. A plan holds the
// constants of its statement, and with ANALYZE how many rows each step had and how much
// memory it took for them. Of masked values that tells nothing where no step keeps any.

// explainOptions are the options of EXPLAIN that show nothing of rows.
var explainOptions = words("verbose costs settings format summary generic_plan buffers analyze timing wal memory")

const adviceAnalyze = "leave ANALYZE out; or name columns that are not masked instead of *, in a SELECT without window functions and FOR UPDATE"

func (t *tracer) explain(m *pgquery.ExplainStmt) {
	analyze, verbose := false, false
	for _, n := range m.Options {
		d := n.GetDefElem()
		if d == nil || !explainOptions[d.Defname] {
			t.deny("an option of EXPLAIN is not known")
			return
		}
		analyze, verbose = analyze || d.Defname == "analyze", verbose || d.Defname == "verbose"
	}
	inner := unwrap(m.Query)
	if e, ok := inner.(*pgquery.ExecuteStmt); ok {
		t.execute(e, &scope{})
	} else {
		t.statement(inner, &scope{})
	}
	if t.compares || t.sensitive && verbose {
		t.denyWith("EXPLAIN would print constants that masked columns are compared with or written", "explain the statement with conditions on other columns, and without VERBOSE where it writes")
	}
	if analyze && !t.keepsNothing(inner) {
		t.noMaskedRelation("EXPLAIN ANALYZE", adviceAnalyze)
	}
}

// keepsNothing reports whether a statement only reads, and no step of its plan could take
// memory for masked values: the sizes of sorts, hashes and the like are printed. Such steps
// keep the columns that are named above them, but for windows, and for the rows that a merge
// join goes back to, of which releases from 18 on print the size: those may be whole rows. A
// scan of one table whose rows go to the output keeps none.
func (t *tracer) keepsNothing(m any) bool {
	q, ok := m.(*pgquery.SelectStmt)
	if !ok || includes(m, keepsRows, 0) || t.names.major() >= 18 && includes(m, joins, 0) {
		return false
	}
	for r := range t.used {
		if r.kind == 'v' || r.written {
			return false
		}
	}
	return !t.reads || plainScan(q)
}

// keepsRows reports whether a part of a statement makes a step keep more columns than are
// named, or writes.
func keepsRows(m any) bool {
	switch m := m.(type) {
	case *pgquery.WindowDef, *pgquery.LockingClause, *pgquery.InsertStmt, *pgquery.UpdateStmt, *pgquery.DeleteStmt, *pgquery.MergeStmt:
		return true
	case *pgquery.FuncCall:
		return m.Over != nil
	}
	return false
}

// joins reports whether a part of a statement makes the server join.
func joins(m any) bool {
	switch m := m.(type) {
	case *pgquery.JoinExpr, *pgquery.SubLink:
		return true
	case *pgquery.SelectStmt:
		return len(m.FromClause) > 1
	}
	return false
}

// plainScan reports whether a query is SELECT of columns FROM one relation, with conditions
// at most.
func plainScan(q *pgquery.SelectStmt) bool {
	if len(q.FromClause) != 1 || q.FromClause[0].GetRangeVar() == nil || q.WithClause != nil || q.IntoClause != nil || q.Op != pgquery.SetOperation_SETOP_NONE ||
		len(q.DistinctClause)+len(q.GroupClause)+len(q.SortClause)+len(q.ValuesLists) > 0 || q.HavingClause != nil || asks(q, 0) {
		return false
	}
	for _, n := range q.TargetList {
		if n.GetResTarget().GetVal().GetColumnRef() == nil {
			return false
		}
	}
	return true
}

// includes reports whether a part of a statement is as is says.
func includes(m any, is func(any) bool, depth int) bool {
	if depth > maxDepth || is(m) {
		return true
	}
	found := false
	return !children(m, func(child any) { found = found || includes(child, is, depth+1) }) || found
}
