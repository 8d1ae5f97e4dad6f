package postgres

import (
	"context"
	"slices"
	"strconv"
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// A session on a target with masks may set its path. What its statements mean is asked of
// its own backend and proven with the path that it has then. What is looked up behind them is
// not: the bodies of functions, also those of triggers and policies, are resolved by the
// path of whoever causes their call. With a path of its own a session could have one read or
// write tables that its author did not mean. So from the first change on, until the session
// ends, only functions run that have a path of their own.

const searchPath = "search_path"

// PlainPath reports whether a session may have a value of search_path. The server's schema
// comes first, always: so no name of its own means another's. The session's temporary
// schema comes before the others, where the analysis looks for what is made there.
func PlainPath(value string) bool {
	return !strings.Contains(strings.ToLower(value), "pg_") || value == "pg_catalog"
}

// setsPlainPath reports whether SET gives the session a path that it may have.
func setsPlainPath(m *pgquery.VariableSetStmt) bool {
	if !strings.EqualFold(m.Name, searchPath) {
		return false
	}
	switch m.Kind {
	case pgquery.VariableSetKind_VAR_SET_DEFAULT, pgquery.VariableSetKind_VAR_RESET, pgquery.VariableSetKind_VAR_SET_CURRENT:
		return true
	case pgquery.VariableSetKind_VAR_SET_VALUE:
		return !slices.ContainsFunc(m.Args, func(n *pgquery.Node) bool {
			s := n.GetAConst().GetSval()
			return s == nil || !PlainPath(s.Sval) || s.Sval == "pg_catalog" && len(m.Args) > 1
		})
	default:
		return false
	}
}

// PathChanged notes that the session's path may be its own from now on.
func (c *Catalog) PathChanged() {
	c.ownPath = true
	c.Forget()
}

// OwnPath reports whether the session's path may be its own.
func (c *Catalog) OwnPath() bool { return c != nil && c.ownPath }

// Writes reports whether a command may leave triggers that run at its transaction's end.
func Writes(f *sql.Facts) bool {
	return slices.ContainsFunc(f.Nodes, func(n sql.Node) bool {
		return n.Group != sql.GroupRead && n.Group != sql.GroupSession && n.Group != sql.GroupTransaction
	})
}

const (
	pathQuery    = `SELECT pg_catalog.current_setting('search_path')`
	setPathQuery = `SELECT pg_catalog.set_config('search_path', $1::pg_catalog.text, false)`
)

// lateQuery asks for the functions of users that statements on relations may call without
// naming them, and whether each has a path of its own. Its parameters are the relations
// that are read, and those that are written.
var lateQuery = func() string {
	of := func(relation, list string) string {
		return relation + ` OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT x.oid FROM ` + list + ` x))`
	}
	class := func(column, name string) string {
		return column + ` OPERATOR(pg_catalog.=) 'pg_catalog.` + name + `'::pg_catalog.regclass`
	}
	kin := `SELECT i.inhrelid FROM pg_catalog.pg_inherits i WHERE i.inhparent OPERATOR(pg_catalog.=) r.oid` +
		` UNION ALL SELECT i.inhparent FROM pg_catalog.pg_inherits i WHERE i.inhrelid OPERATOR(pg_catalog.=) r.oid`
	// A policy may read other relations, views among them.
	behind := func(owner, catalog, of string) string {
		return ` UNION ALL SELECT d.refobjid FROM pg_catalog.` + catalog + ` o JOIN pg_catalog.pg_depend d ON ` + class("d.classid", catalog) + ` AND d.objid OPERATOR(pg_catalog.=) o.oid AND ` +
			class("d.refclassid", "pg_class") + ` WHERE o.` + owner + ` OPERATOR(pg_catalog.=) ` + of
	}
	return `WITH RECURSIVE readen(oid) AS (SELECT pg_catalog.unnest($1::pg_catalog.oid[]) UNION SELECT k.oid FROM readen r CROSS JOIN LATERAL (` + kin +
		behind("polrelid", "pg_policy", "r.oid") + behind("ev_class", "pg_rewrite", "r.oid") + `) k(oid)),` +
		` written(oid) AS (SELECT pg_catalog.unnest($2::pg_catalog.oid[]) UNION SELECT k.oid FROM written r CROSS JOIN LATERAL (` + kin +
		` UNION ALL SELECT o.conrelid FROM (SELECT 1) z(z) JOIN ` + referencing("r.oid") + `) k(oid)),` +
		` late(f) AS (SELECT t.tgfoid FROM pg_catalog.pg_trigger t WHERE NOT t.tgisinternal AND ` + of("t.tgrelid", "written") +
		` UNION ALL SELECT d.refobjid FROM pg_catalog.pg_depend d WHERE ` + class("d.refclassid", "pg_proc") + ` AND (` +
		class("d.classid", "pg_policy") + ` AND d.objid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT p.oid FROM pg_catalog.pg_policy p WHERE ` + of("p.polrelid", "readen") + ` OR ` + of("p.polrelid", "written") + `))` +
		` OR ` + class("d.classid", "pg_rewrite") + ` AND d.objid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT p.oid FROM pg_catalog.pg_rewrite p WHERE ` + of("p.ev_class", "readen") + `))` +
		` OR ` + class("d.classid", "pg_attrdef") + ` AND d.objid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT p.oid FROM pg_catalog.pg_attrdef p WHERE ` + of("p.adrelid", "written") + `))` +
		` OR ` + class("d.classid", "pg_constraint") + ` AND d.objid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT p.oid FROM pg_catalog.pg_constraint p WHERE ` + of("p.conrelid", "written") +
		` OR p.contypid OPERATOR(pg_catalog.<>) '0'::pg_catalog.oid AND EXISTS (SELECT 1 FROM pg_catalog.pg_attribute a WHERE ` + of("a.attrelid", "written") +
		` AND a.attnum OPERATOR(pg_catalog.>) '0'::pg_catalog.int2 AND a.atttypid OPERATOR(pg_catalog.>=) ` + firstUserOID + `::pg_catalog.oid)))` +
		` OR ` + class("d.classid", "pg_class") + ` AND d.objid OPERATOR(pg_catalog.=) ANY (ARRAY(SELECT p.indexrelid FROM pg_catalog.pg_index p WHERE ` + of("p.indrelid", "written") + `))))` +
		` SELECT DISTINCT 'late', n.nspname::pg_catalog.text, p.proname::pg_catalog.text, ` + ownPathOf + `, p.oid::pg_catalog.text` +
		` FROM late l JOIN pg_catalog.pg_proc p ON p.oid OPERATOR(pg_catalog.=) l.f JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace` +
		` WHERE p.oid OPERATOR(pg_catalog.>=) ` + firstUserOID + `::pg_catalog.oid` + notOfExtension("pg_catalog.pg_proc", "p.oid")
}()

// ownPathOf says whether a function p has a path of its own.
const ownPathOf = `(EXISTS (SELECT 1 FROM pg_catalog.unnest(p.proconfig) s(c) WHERE pg_catalog.starts_with(s.c, 'search_path=')))::pg_catalog.text`

// advicePath says how a function is made independent of the session's path.
const advicePath = "have its owner give it one (ALTER FUNCTION … SET search_path), or connect again and name tables with their schema instead of setting search_path"

// settleLate denies statements that would have functions called which are resolved by the
// session's own path.
func (t *tracer) settleLate(ctx context.Context, c *Catalog, f *sql.Facts, d *definitions) error {
	if !c.OwnPath() || t.violated() || len(t.used) == 0 {
		return nil
	}
	writes := slices.ContainsFunc(f.Nodes, func(n sql.Node) bool { return n.Group != sql.GroupRead })
	var lists [2][]string
	for r := range t.used {
		if r.system {
			continue
		}
		oid := strconv.FormatUint(uint64(r.oid), 10)
		lists[0] = append(lists[0], oid)
		if writes {
			lists[1] = append(lists[1], oid)
		}
	}
	if len(lists[0]) == 0 {
		return nil
	}
	slices.Sort(lists[0])
	slices.Sort(lists[1])
	rows, err := d.read(ctx, c, Question{SQL: lateQuery, Arguments: []string{array(lists[0]), array(lists[1])}})
	if err != nil {
		return err
	}
	for _, row := range rows {
		if v := values(row); v[3] != "true" {
			t.denyWith("the session has set search_path, and the statement may call the function "+quoteIdent(v[1]+"."+v[2])+", which has none of its own", advicePath)
		}
	}
	return nil
}
