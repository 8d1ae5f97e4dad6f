package postgres

import (
	"encoding/json"
	"slices"
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// Functions of users. One may be called on a target with masks if a rule pins it, or if it
// belongs to an extension that computes and reads nothing. Which of several functions of one
// name a call means depends on the types of its arguments; so all that it can mean have to be
// pinned. Nothing locks a function: its definition is compared in the analysis and again right
// before the statement is executed, and what it calls itself is not looked at.

// ownFunction is a function that is not the server's own.
type ownFunction struct {
	schema, name string
	Kind         string   `json:"kind"`      // pg_proc.prokind
	Definer      bool     `json:"definer"`   // SECURITY DEFINER
	Arguments    []string `json:"arguments"` // types
	Digest       string   `json:"digest"`    // of the definition
	Builtin      bool     `json:"builtin"`   // the server has one of the same name
	Extension    bool     `json:"extension"` // of an allowed one, and a superuser's
	Scalar       bool     `json:"scalar"`    // returns a value that is no row
	Path         bool     `json:"path"`      // it has a search_path of its own
	Outputs      []string `json:"outputs"`   // names of OUT arguments and the columns of RETURNS TABLE
}

// typeNameOf is the name by which a signature has a type: the server's own as SQL has it,
// those of users with their schema.
func typeNameOf(oid string) string {
	return `(SELECT CASE WHEN y.nspname OPERATOR(pg_catalog.=) 'pg_catalog' THEN pg_catalog.format_type(x.oid, NULL) ELSE pg_catalog.concat(y.nspname, '.',` +
		` CASE WHEN x.typcategory OPERATOR(pg_catalog.=) 'A' THEN (SELECT pg_catalog.concat(e.typname, '[]') FROM pg_catalog.pg_type e WHERE e.oid OPERATOR(pg_catalog.=) x.typelem)` +
		` ELSE x.typname::pg_catalog.text END) END FROM pg_catalog.pg_type x JOIN pg_catalog.pg_namespace y ON y.oid OPERATOR(pg_catalog.=) x.typnamespace` +
		` WHERE x.oid OPERATOR(pg_catalog.=) ` + oid + `)`
}

// functionOf is a function p of the schema n as ownFunction has it. The digest is that of
// docs/masking.md.
var functionOf = func() string {
	digest := `pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.json_build_array(n.nspname, p.proname, pg_catalog.pg_get_userbyid(p.proowner),` +
		` (SELECT l.lanname FROM pg_catalog.pg_language l WHERE l.oid OPERATOR(pg_catalog.=) p.prolang), p.prokind, p.prosecdef, p.proleakproof, p.proisstrict,` +
		` p.proretset, p.provolatile, p.proparallel, p.prorettype::pg_catalog.text, p.proargtypes::pg_catalog.text, p.proallargtypes::pg_catalog.text, p.proargmodes::pg_catalog.text,` +
		` p.proargnames, p.proargdefaults::pg_catalog.text, p.protrftypes::pg_catalog.text, p.proconfig, p.probin, p.prosqlbody::pg_catalog.text, p.prosrc)::pg_catalog.text, 'UTF8')), 'hex')`
	arguments := `(SELECT COALESCE(pg_catalog.json_agg(` + typeNameOf("a.t") + ` ORDER BY a.o), '[]') FROM pg_catalog.unnest(p.proargtypes::pg_catalog.oid[]) WITH ORDINALITY a(t, o))`
	outputs := `(SELECT pg_catalog.json_agg(p.proargnames[a.o] ORDER BY a.o) FROM pg_catalog.unnest(p.proargmodes) WITH ORDINALITY a(m, o)` +
		` WHERE a.m OPERATOR(pg_catalog.=) ANY ('{o,b,t}'::pg_catalog."char"[]))`
	return `pg_catalog.json_build_object('kind', p.prokind, 'definer', p.prosecdef, 'arguments', ` + arguments + `, 'digest', ` + digest + `,` +
		` 'builtin', EXISTS (SELECT 1 FROM pg_catalog.pg_proc b JOIN pg_catalog.pg_namespace c ON c.oid OPERATOR(pg_catalog.=) b.pronamespace` +
		` WHERE b.proname OPERATOR(pg_catalog.=) p.proname AND c.nspname OPERATOR(pg_catalog.=) 'pg_catalog'),` +
		` 'extension', (SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.oid OPERATOR(pg_catalog.=) p.proowner) AND NOT (true` + notOfExtension("pg_catalog.pg_proc", "p.oid") + `),` +
		` 'scalar', (SELECT t.typtype OPERATOR(pg_catalog.=) ANY ('{b,e,d,r,m}'::pg_catalog."char"[]) FROM pg_catalog.pg_type t WHERE t.oid OPERATOR(pg_catalog.=) p.prorettype),` +
		` 'path', ` + ownPathOf + `::pg_catalog.bool, 'outputs', ` + outputs + `)::pg_catalog.text`
}()

func readFunction(schema, name, described string) (*ownFunction, error) {
	f := &ownFunction{schema: schema, name: name}
	if json.Unmarshal([]byte(described), f) != nil || f.Kind == "" || f.Digest == "" {
		return nil, errCatalogAnswer
	}
	return f, nil
}

// sameTypes are other names of the server's own types.
var sameTypes = map[string]string{"int": "integer", "int4": "integer", "int2": "smallint", "int8": "bigint", "bool": "boolean", "float4": "real", "float8": "double precision",
	"float": "double precision", "decimal": "numeric", "varchar": "character varying", "char": "character", "bpchar": "character", "timestamp": "timestamp without time zone",
	"timestamptz": "timestamp with time zone", "time": "time without time zone", "timetz": "time with time zone", "varbit": "bit varying"}

// argument is the name of a type in a signature as the server has it.
func argument(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	of, array := strings.CutSuffix(s, "[]")
	if full, ok := sameTypes[strings.ToLower(of)]; ok {
		of = full
	}
	if array {
		return of + "[]"
	}
	return of
}

// pins reports whether a rule admits calls of a function. Aggregates, window functions and
// procedures are not pinned: what they do is not in their own definition.
func pins(list []sql.PinnedFunction, f *ownFunction) bool {
	return f.Kind == "f" && slices.ContainsFunc(list, func(p sql.PinnedFunction) bool {
		return p.Schema == f.schema && p.Name == f.name && (p.SHA256 == f.Digest || p.SHA256 == "" && !f.Definer) &&
			slices.EqualFunc(p.Arguments, f.Arguments, func(in, is string) bool { return argument(in) == is })
	})
}

// candidates are the functions of users that a name may mean.
func (m *meanings) candidates(name []string) []*ownFunction {
	if len(name) == 0 {
		return nil
	}
	var out []*ownFunction
	for _, f := range m.own[name[len(name)-1]] {
		if len(name) == 1 && m.searched[f.schema] || len(name) == 2 && f.schema == name[0] {
			out = append(out, f)
		}
	}
	return out
}

// advicePin says how a function of users is admitted.
const advicePin = "have an administrator list it under functions of a MaskingRule, after reading it; docs/masking.md says how"

// mayCall denies calls of functions that are neither the server's own nor admitted.
func (t *tracer) mayCall(name []string) bool {
	fn := name[len(name)-1]
	own := len(name) == 2 && name[0] == "pg_catalog"
	var found []*ownFunction
	if !own {
		found = t.names.candidates(name)
	}
	for _, f := range found {
		if !f.Extension && !pins(t.pinned, f) {
			t.denyWith("the function "+quoteIdent(f.schema+"."+fn)+" is defined by a user of this database, and no rule pins it as it is", advicePin)
			return false
		}
		if t.ownPath && !f.Extension && !f.Path {
			t.denyWith("the session has set search_path, and the function "+quoteIdent(f.schema+"."+fn)+" has none of its own", advicePath)
			return false
		}
		if len(name) == 1 && f.Builtin && !f.Extension {
			t.deny("the function " + quoteIdent(fn) + " is defined by a user of this database too; qualify it by its schema")
			return false
		}
	}
	switch {
	case len(name) > 2, len(name) == 2 && !own && len(found) == 0:
		t.deny("a function outside of pg_catalog is called")
		return false
	case len(found) > 0 && (len(name) == 2 || !found[0].Builtin):
		return true
	case !t.usable(fn):
		t.denyWith("the function "+quoteIdent(fn)+" is not on the list of functions that may be called on this target",
			"do without it; only functions that compute from their arguments or describe the catalog are on the list")
		return false
	}
	return true
}

// pinnedRow returns the columns of a user's function in FROM; an empty name stands for the
// alias. It returns none if the function is not one that returns the same columns whatever
// it is called with.
func (t *tracer) pinnedRow(f *pgquery.FuncCall) []string {
	var columns []string
	for i, c := range t.names.candidates(names(f.Funcname)) {
		var its []string
		switch {
		case len(c.Outputs) > 1 && !slices.Contains(c.Outputs, ""):
			its = c.Outputs
		case len(c.Outputs) == 0 && c.Scalar:
			its = []string{""}
		default:
			return nil
		}
		if i > 0 && !slices.Equal(its, columns) {
			return nil
		}
		columns = its
	}
	return columns
}
