package postgres

import (
	"context"
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"
)

// What is written to a table may have functions called that were not named: of triggers,
// policies, defaults and checks. Which tables they mean is looked up when they run. A
// relation that is made under the name of another could stand before that: a temporary one
// always does, unless the function's own path says otherwise. So a trigger that logs old
// values would write them where no mask follows.

// hideQuery asks for functions of users that may run without being named and look names up
// by a path in which a new relation could stand before another of its name. Its parameters
// are the names of the temporary relations that are made, and of those that stay.
var hideQuery = func() string {
	taken := func(names string) string {
		return `EXISTS (SELECT 1 FROM pg_catalog.pg_class c WHERE c.relname OPERATOR(pg_catalog.=) ` + anyOf(names+`::pg_catalog.name[]`) +
			` AND c.relpersistence OPERATOR(pg_catalog.<>) 't'::pg_catalog."char")`
	}
	return `SELECT 'late', n.nspname::pg_catalog.text, p.proname::pg_catalog.text, 'false', p.oid::pg_catalog.text FROM pg_catalog.pg_proc p` +
		` JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace WHERE p.oid OPERATOR(pg_catalog.>=) ` + firstUserOID + `::pg_catalog.oid` +
		` AND (` + taken("$1") + ` AND NOT EXISTS (SELECT 1 FROM pg_catalog.unnest(p.proconfig) s(c) WHERE pg_catalog.starts_with(s.c, 'search_path=')` +
		` AND pg_catalog."right"(s.c, 7) OPERATOR(pg_catalog.=) 'pg_temp') OR ` + taken("$2") + ` AND NOT ` + ownPathOf + `::pg_catalog.bool)` +
		` AND (EXISTS (SELECT 1 FROM pg_catalog.pg_trigger t WHERE t.tgfoid OPERATOR(pg_catalog.=) p.oid AND NOT t.tgisinternal)` +
		` OR EXISTS (SELECT 1 FROM pg_catalog.pg_depend d WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.refobjid OPERATOR(pg_catalog.=) p.oid` +
		` AND d.classid OPERATOR(pg_catalog.=) ANY (ARRAY['pg_catalog.pg_policy'::pg_catalog.regclass, 'pg_catalog.pg_attrdef'::pg_catalog.regclass, 'pg_catalog.pg_constraint'::pg_catalog.regclass,` +
		` 'pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_rewrite'::pg_catalog.regclass]::pg_catalog.oid[])))` +
		notOfExtension("pg_catalog.pg_proc", "p.oid") + ` ORDER BY 2, 3 LIMIT 1`
}()

// hides are the names of relations that a command makes, temporary ones apart.
type hides struct{ temporary, lasting []string }

func (h *hides) note(r *pgquery.RangeVar) {
	if r.Relpersistence == "t" || strings.HasPrefix(r.Schemaname, "pg_temp") {
		h.temporary = append(h.temporary, r.Relname)
		return
	}
	h.lasting = append(h.lasting, r.Relname)
}

// settleHidden denies relations that a function which is called without being named could
// take for another.
func (t *tracer) settleHidden(ctx context.Context, c *Catalog, d *definitions) error {
	if t.violated() || len(t.hides.temporary)+len(t.hides.lasting) == 0 {
		return nil
	}
	rows, err := d.read(ctx, c, Question{SQL: hideQuery, Arguments: []string{array(t.hides.temporary), array(t.hides.lasting)}})
	if err != nil {
		return err
	}
	for _, row := range rows {
		v := values(row)
		t.denyWith("a relation gets the name of another, and triggers or policies of this database call the function "+quoteIdent(v[1]+"."+v[2])+", which may take it for that",
			"choose another name; or have the function's owner give it a path that ends in pg_temp (ALTER FUNCTION … SET search_path = …, pg_temp)")
	}
	return nil
}
