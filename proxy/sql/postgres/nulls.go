package postgres

import pgquery "github.com/pganalyze/pg_query_go/v6"

// asksNull establishes a question whether a masked column is NULL. It is admitted where the
// column itself shows that: NULL stays NULL. It returns false if n is no masked column.
func (t *tracer) asksNull(n *pgquery.Node, s *scope, construct string) bool {
	ref := n.GetColumnRef()
	if ref == nil {
		return false
	}
	c := t.reference(ref, s)
	switch {
	case t.violated():
		return true
	case c.mask == 0 || c.secret:
		return false
	case c.uses.Nulls && textTypes[c.typ]:
		return true
	}
	if !t.violated() {
		t.fault.Advice = "leave the question out; it is answered for columns of text that are masked by redact, partial, email, fixed or hash, which show NULL, and for no others"
	}
	t.denyColumn(c, "is used in "+construct+", and its mask hides whether it is NULL")
	return true
}
