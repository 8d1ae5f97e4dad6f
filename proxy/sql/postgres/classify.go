package postgres

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"
	"google.golang.org/protobuf/proto"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// maxDepth is how deep a tree may nest; more is unknown.
const maxDepth = 2500

// classifier collects the facts of one command that need no catalog.
type classifier struct {
	facts *sql.Facts
	text  []byte
	depth int
	// statement is the node of the innermost statement around, whose group functions raise.
	statement int
	// executes are the names of the prepared statements that the command executes, prepares
	// those that it prepares itself.
	executes, prepares []string
	// written are the relations whose rows or definition the statement around changes.
	written map[*pgquery.RangeVar]bool
	// ctes are the names of WITH queries in whose scope the statement is; they hide relations.
	ctes []string
	// queries are those of all WITH clauses around, in scope or not.
	queries []*pgquery.CommonTableExpr
	// pinned are the names of settings that calls of set_config take from a column.
	pinned map[*pgquery.FuncCall]*pgquery.String
}

// command classifies all statements of a text.
func (c *classifier) command(tree *pgquery.ParseResult) {
	c.facts.Known = true
	c.facts.Statements = len(tree.Stmts)
	c.written, c.pinned = map[*pgquery.RangeVar]bool{}, map[*pgquery.FuncCall]*pgquery.String{}
	for _, s := range tree.Stmts {
		c.statement = -1
		c.visit(unwrap(s.Stmt))
	}
	if c.facts.Known && len(tree.Stmts) > 0 && len(c.facts.Nodes) == 0 {
		c.unknown("the statement is not known")
	}
	if !c.facts.Known {
		c.facts.Sensitive, c.facts.SensitiveParameters = true, true
	}
	c.facts.Nodes = distinct(c.facts.Nodes)
}

func distinct(nodes []sql.Node) []sql.Node {
	var out []sql.Node
	for _, n := range nodes {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

func (c *classifier) unknown(why string) {
	if c.facts.Known {
		c.facts.Known, c.facts.Unknown = false, why
	}
}

// visit classifies a message and what is in it.
func (c *classifier) visit(m any) {
	if m == nil || !c.facts.Known {
		return
	}
	if c.depth++; c.depth > maxDepth {
		c.unknown("the statement nests too deeply")
	}
	defer func(statement, ctes, queries int) {
		c.depth--
		c.statement, c.ctes, c.queries = statement, c.ctes[:ctes], c.queries[:queries]
	}(c.statement, len(c.ctes), len(c.queries))
	message, ok := m.(proto.Message)
	if !ok {
		c.unknown("the statement holds a construct that is not known")
		return
	}
	name := string(message.ProtoReflect().Descriptor().Name())
	if !inert[name] && !c.special(m) {
		n := kind(m, name)
		if n.Kind == "" {
			c.unknown("the statement holds a construct that is not known: " + name)
			return
		}
		n.Unfiltered = n.Unfiltered || unfiltered(m, c.queries)
		c.facts.Nodes = append(c.facts.Nodes, n)
		c.statement = len(c.facts.Nodes) - 1
	}
	c.note(m)
	c.with(m)
	if !children(m, c.visitInScope) {
		c.unknown("the statement holds a construct that is not known: " + name)
	}
}

// special handles the messages that are no statements and yet mean something.
func (c *classifier) special(m any) bool {
	switch m := m.(type) {
	case *pgquery.RangeVar:
		c.relation(m)
	case *pgquery.FuncCall:
		if !c.configures(m) {
			c.function(names(m.Funcname))
		}
	case *pgquery.RangeTableSample:
		if n := names(m.Method); len(n) != 1 || n[0] != "bernoulli" && n[0] != "system" {
			c.function(n)
		}
	default:
		return false
	}
	return true
}

// with visits the WITH queries of a statement and leaves their names in scope. In a
// recursive list each is in the scope of all, else of those behind it: its own name means
// a relation inside it.
func (c *classifier) with(m any) {
	s, ok := m.(interface{ GetWithClause() *pgquery.WithClause })
	if !ok || s.GetWithClause() == nil {
		return
	}
	w := s.GetWithClause()
	c.queries = append(c.queries, queries(w)...)
	scope := len(c.ctes)
	for _, n := range w.Ctes {
		if w.Recursive {
			c.ctes = append(c.ctes, n.GetCommonTableExpr().GetCtename())
		}
	}
	for _, n := range w.Ctes {
		c.visit(unwrap(n))
		if !w.Recursive {
			c.ctes = append(c.ctes, n.GetCommonTableExpr().GetCtename())
		}
	}
	if len(c.ctes)-scope != len(w.Ctes) {
		c.unknown("the statement's WITH clause is not known")
	}
}

// visitInScope visits a part of a statement whose WITH queries were visited already. What
// FOR UPDATE OF names stands in FROM.
func (c *classifier) visitInScope(m any) {
	switch m := m.(type) {
	case *pgquery.WithClause:
	case *pgquery.LockingClause:
		if len(m.LockedRels) == 0 {
			c.visit(m)
		}
	default:
		c.visit(m)
	}
}

// isQuery reports whether a relation is a WITH query. What a statement writes to never is.
func (c *classifier) isQuery(r *pgquery.RangeVar) bool {
	return r.Schemaname == "" && r.Catalogname == "" && !c.written[r] && slices.Contains(c.ctes, r.Relname)
}

// raise puts the statement around into a group that needs at least as much as g.
func (c *classifier) raise(g sql.Group) {
	if c.statement < 0 {
		c.unknown("a function stands outside of a statement")
		return
	}
	n := &c.facts.Nodes[c.statement]
	switch {
	case n.Group == sql.GroupAdministration || n.Group == g:
	case g == sql.GroupAdministration || n.Group == sql.GroupRead || n.Group == sql.GroupSession || n.Group == sql.GroupTransaction:
		n.Group = g
	}
}

func (c *classifier) feature(f string) {
	if !slices.Contains(c.facts.Features, f) {
		c.facts.Features = append(c.facts.Features, f)
	}
}

func (c *classifier) relation(r *pgquery.RangeVar) {
	out := sql.Relation{Schema: r.Schemaname, Name: r.Relname, Write: c.written[r]}
	if out.Name == "" || c.isQuery(r) {
		return
	}
	if out.Write && isCatalog(out.Schema, out.Name) {
		c.feature(sql.FeatureCatalogWrite)
	}
	if feature := revealing[out.Name]; feature != "" {
		c.feature(feature)
	}
	if !slices.Contains(c.facts.Relations, out) {
		c.facts.Relations = append(c.facts.Relations, out)
	}
}

// isCatalog reports whether a relation is the server's own.
func isCatalog(schema, name string) bool {
	return schema == "pg_catalog" || schema == "information_schema" || strings.HasPrefix(name, "pg_")
}

// revealing are relations that show what functions of a feature do, or that hold
// credentials.
var revealing = map[string]string{
	"pg_hba_file_rules": sql.FeatureServerFile, "pg_ident_file_mappings": sql.FeatureServerFile, "pg_file_settings": sql.FeatureServerFile,
	"pg_largeobject": sql.FeatureLargeObject,
	"pg_authid":      sql.FeatureCredential, "pg_shadow": sql.FeatureCredential, "pg_user_mapping": sql.FeatureCredential,
	"pg_user_mappings": sql.FeatureCredential, "user_mapping_options": sql.FeatureCredential, "_pg_user_mappings": sql.FeatureCredential,
}

// write notes that a relation's rows or definition are changed.
func (c *classifier) write(relations ...*pgquery.RangeVar) {
	for _, r := range relations {
		if r != nil {
			c.written[r] = true
		}
	}
}

// named notes relations that a statement names by lists of strings.
func (c *classifier) named(t pgquery.ObjectType, list []*pgquery.Node) {
	parts := 0 // of a name behind the relation's
	switch t {
	case pgquery.ObjectType_OBJECT_COLUMN, pgquery.ObjectType_OBJECT_TABCONSTRAINT, pgquery.ObjectType_OBJECT_POLICY, pgquery.ObjectType_OBJECT_RULE,
		pgquery.ObjectType_OBJECT_TRIGGER:
		parts = 1
	case pgquery.ObjectType_OBJECT_TABLE, pgquery.ObjectType_OBJECT_VIEW, pgquery.ObjectType_OBJECT_MATVIEW, pgquery.ObjectType_OBJECT_FOREIGN_TABLE,
		pgquery.ObjectType_OBJECT_SEQUENCE, pgquery.ObjectType_OBJECT_INDEX:
	default:
		return
	}
	for _, n := range list {
		name := names(n.GetList().GetItems())
		if len(name) <= parts {
			continue
		}
		name = name[:len(name)-parts]
		r := &pgquery.RangeVar{Relname: name[len(name)-1]}
		if len(name) > 1 {
			r.Schemaname = name[len(name)-2]
		}
		c.write(r)
		c.relation(r)
	}
}

// names returns the strings of a list.
func names(list []*pgquery.Node) []string {
	var out []string
	for _, n := range list {
		if s := n.GetString_(); s != nil {
			out = append(out, s.Sval)
		}
	}
	return out
}

// credential says that the text holds a credential.
func (c *classifier) credential() {
	c.feature(sql.FeatureCredential)
	c.facts.Sensitive, c.facts.SensitiveParameters = true, true
}

// mentionsPassword says that a text with code in it may hold a credential.
func (c *classifier) mentionsPassword() bool {
	return bytes.Contains(bytes.ToLower(c.text), []byte("password"))
}

// quoteIdent names an identifier in a sentence for the client.
func quoteIdent(s string) string {
	if len(s) > 64 {
		s = s[:64]
	}
	return fmt.Sprintf("%q", s)
}
