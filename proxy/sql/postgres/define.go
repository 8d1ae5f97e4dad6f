package postgres

import (
	"slices"
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// Definitions are admitted where they are about tables without masked columns, and call
// nothing that a statement may not call. A table that has masked columns, or shares rows with
// one that has, keeps its name, its columns and what belongs to it: whatever changes there
// could take a mask away, or tell of values by failing. What is made of a query holds no
// masked column, so that none goes where no mask follows.

// define establishes a definition.
func (t *tracer) define(m any, s *scope) {
	switch m := m.(type) {
	case *pgquery.CreateStmt:
		t.createTable(m, s)
	case *pgquery.CreateTableAsStmt:
		t.createTableAs(m, s)
	case *pgquery.ViewStmt:
		t.createView(m, s)
	case *pgquery.IndexStmt:
		t.createIndex(m, s)
	case *pgquery.CreateSeqStmt:
		t.newName(m.Sequence)
		t.plainOptions(m.Options)
	case *pgquery.CreateSchemaStmt:
		if m.Authrole != nil || len(m.SchemaElts) > 0 {
			t.deny("a schema is created with more than a name")
		}
	case *pgquery.CreateEnumStmt:
		t.newType(m.TypeName)
	case *pgquery.AlterEnumStmt:
		t.newType(m.TypeName)
	case *pgquery.AlterTableStmt:
		t.alterTable(m, s)
	case *pgquery.DropStmt:
		t.drop(m)
	default:
		t.deny("this kind of statement is not used on a target with masks")
	}
}

// newName allows to make a relation in a schema that is not the server's. Unless it is temporary, and
// so the session's alone, it must not bear the name of one with masked columns: an application that means
// the other would find it on its path, and leave values where no mask follows.
func (t *tracer) newName(r *pgquery.RangeVar) bool {
	if r == nil || r.Catalogname != "" || !ownSchema(r.Schemaname) {
		t.deny("a relation is created in a schema of the server's, or in another database")
		return false
	}
	if r.Relpersistence != "t" && r.Schemaname != "pg_temp" && t.taken(r.Relname) {
		t.deny("a relation gets the name of one that has masked columns; choose another name")
		return false
	}
	t.created = append(t.created, sql.Relation{Schema: r.Schemaname, Name: r.Relname, Write: true})
	t.hides.note(r)
	return true
}

// newType allows to define a type in a schema that is not the server's.
func (t *tracer) newType(list []*pgquery.Node) {
	if n := names(list); len(n) == 0 || len(n) > 2 || len(n) == 2 && (!ownSchema(n[0]) || strings.HasPrefix(n[0], "pg_")) {
		t.deny("a type is defined in a schema of the server's or the session's own, or in another database")
	}
}

// ownSchema reports whether a schema, which may be that of the path, is not the server's.
func ownSchema(name string) bool {
	return name != "pg_catalog" && name != "information_schema" && name != "pg_toast"
}

// unmaskedTable resolves a table that a definition is about. It returns nil if it has
// masked columns or is none.
func (t *tracer) unmaskedTable(m *pgquery.RangeVar) *relation {
	r, _ := t.target(m)
	if r == nil {
		return nil
	}
	if r.kind != 'r' && r.kind != 'p' {
		t.deny("a definition is about something else than a table")
		return nil
	}
	for _, c := range r.columns {
		if c.mask != 0 || c.secret {
			t.denyColumn(c, "belongs to a table whose definition would change")
			return nil
		}
	}
	return r
}

// exists reports whether the relation that a command would make is there.
func (t *tracer) exists(m *pgquery.RangeVar) bool {
	r := t.names.find(m.GetSchemaname(), m.GetRelname())
	if r == nil || m.Relpersistence == "t" || m.Catalogname != "" {
		return false
	}
	return r.schema == m.Schemaname || m.Schemaname == "" && r.schema == t.names.creation()
}

// createTable allows a table of plain columns: it holds what the client puts in.
func (t *tracer) createTable(m *pgquery.CreateStmt, s *scope) {
	if m.IfNotExists && t.exists(m.Relation) {
		return
	}
	if !t.newName(m.Relation) {
		return
	}
	if len(m.InhRelations) > 0 || m.OfTypename != nil || m.Partbound != nil || m.Partspec != nil || m.AccessMethod != "" || m.Tablespacename != "" || len(m.Constraints) > 0 {
		t.deny("a table is made from another table or type, or in parts")
		return
	}
	level := s.inner()
	src := &source{name: m.Relation.Relname, table: m.Relation.Relname}
	for _, n := range m.TableElts {
		if c := n.GetColumnDef(); c != nil {
			src.columns = append(src.columns, t.newColumn(m.Relation, c.Colname))
		}
	}
	t.add(level, src)
	for _, n := range m.TableElts {
		switch e := unwrap(n).(type) {
		case *pgquery.ColumnDef:
			t.columnDefinition(e, level)
		case *pgquery.Constraint:
			t.constraint(e, level)
		default:
			t.deny("a table is made from another table")
		}
	}
}

// newColumn is a column that a definition makes, masked as it will be.
func (t *tracer) newColumn(r *pgquery.RangeVar, name string) column {
	schemas := t.names.path
	if r.Schemaname != "" {
		schemas = []string{r.Schemaname}
	}
	c := column{name: name}
	for _, schema := range schemas {
		if ref := t.masks.Mask(schema, r.Relname, name); ref != 0 {
			c.mask, c.origin = ref, schema+"."+r.Relname+"."+name
		}
	}
	return c
}

func (t *tracer) columnDefinition(c *pgquery.ColumnDef, s *scope) {
	t.serialOrType(c.TypeName)
	if c.RawDefault != nil || len(c.Fdwoptions) > 0 || c.Compression != "" {
		t.deny("a column is defined in a way that is not known")
	}
	if c.CollClause != nil && len(c.CollClause.Collname) == 0 {
		t.deny("a column is defined in a way that is not known")
	}
	for _, n := range c.Constraints {
		t.constraint(n.GetConstraint(), s)
	}
}

func (t *tracer) serialOrType(n *pgquery.TypeName) {
	if name := names(n.GetNames()); len(name) == 1 && (name[0] == "serial" || name[0] == "bigserial" || name[0] == "smallserial") {
		return
	}
	t.typeName(n)
}

// constraint checks a constraint of a table that is made or changed, whose columns are in s.
func (t *tracer) constraint(c *pgquery.Constraint, s *scope) {
	switch c.GetContype() {
	case pgquery.ConstrType_CONSTR_NULL, pgquery.ConstrType_CONSTR_NOTNULL, pgquery.ConstrType_CONSTR_ATTR_DEFERRABLE,
		pgquery.ConstrType_CONSTR_ATTR_NOT_DEFERRABLE, pgquery.ConstrType_CONSTR_ATTR_DEFERRED, pgquery.ConstrType_CONSTR_ATTR_IMMEDIATE:
	case pgquery.ConstrType_CONSTR_PRIMARY, pgquery.ConstrType_CONSTR_UNIQUE:
		if c.Indexspace != "" || c.Indexname != "" {
			t.deny("a constraint is made in a way that is not known")
		}
	case pgquery.ConstrType_CONSTR_DEFAULT:
		t.stored(c.RawExpr, s, "DEFAULT")
	case pgquery.ConstrType_CONSTR_CHECK:
		t.stored(c.RawExpr, s, "CHECK")
	case pgquery.ConstrType_CONSTR_GENERATED:
		t.stored(c.RawExpr, s, "GENERATED")
	case pgquery.ConstrType_CONSTR_IDENTITY:
		t.plainOptions(c.Options)
	case pgquery.ConstrType_CONSTR_FOREIGN:
		t.referenced(c)
	default:
		t.deny("a table has a constraint of a kind that is not known")
	}
}

// referenced checks what a foreign key refers to: whether its columns hold a value is what
// every write of the referring one will tell.
func (t *tracer) referenced(c *pgquery.Constraint) {
	if t.newTable(c.Pktable) {
		return
	}
	r := t.relation(c.Pktable)
	if r == nil {
		return
	}
	columns := r.columns
	if list := names(c.PkAttrs); len(list) > 0 {
		columns = nil
		for _, name := range list {
			columns = append(columns, columnsNamed(r.columns, name)...)
		}
		if len(columns) != len(list) {
			t.deny("a column that is not known is referenced")
		}
	}
	t.unmasked(columns, "REFERENCES")
}

// newTable reports whether a name is that of the table that the command makes, and of none
// that exists.
func (t *tracer) newTable(m *pgquery.RangeVar) bool {
	return m != nil && t.names.find(m.Schemaname, m.Relname) == nil && slices.Contains(t.created, sql.Relation{Schema: m.Schemaname, Name: m.Relname, Write: true})
}

// stored checks an expression that is kept in a definition.
func (t *tracer) stored(n *pgquery.Node, s *scope, construct string) {
	if n != nil && asks(unwrap(n), 0) {
		t.deny(construct + " holds a sub-select")
	}
	t.use(n, s, construct)
}

// asks reports whether an expression holds a sub-select.
func asks(m any, depth int) bool {
	return includes(m, func(part any) bool { _, found := part.(*pgquery.SubLink); return found }, depth)
}

// plainOptions allows the options of sequences that name nothing.
func (t *tracer) plainOptions(list []*pgquery.Node) {
	for _, n := range list {
		switch n.GetDefElem().GetDefname() {
		case "increment", "minvalue", "maxvalue", "start", "restart", "cache", "cycle":
		case "as":
			t.typeName(n.GetDefElem().GetArg().GetTypeName())
		default:
			t.deny("an option of a sequence is not known")
		}
	}
}

// createTableAs allows a temporary table of what is not masked.
func (t *tracer) createTableAs(m *pgquery.CreateTableAsStmt, s *scope) {
	if m.Objtype != pgquery.ObjectType_OBJECT_TABLE || m.Into == nil {
		t.deny("a materialized view is created")
		return
	}
	if !t.temporaryName(m.Into.Rel) {
		return
	}
	if m.Into.AccessMethod != "" || m.Into.TableSpaceName != "" {
		t.deny("a table is made with an access method or in a tablespace")
	}
	t.unmaskedCopy(t.statement(unwrap(m.Query), s), "CREATE TABLE AS")
}

// temporaryName allows to make temporary relations alone of what a query yields: the engine
// sees what other relations the server took a lock on for it.
func (t *tracer) temporaryName(r *pgquery.RangeVar) bool {
	if r == nil || r.Relpersistence != "t" || r.Schemaname != "" && r.Schemaname != "pg_temp" {
		t.denyWith("a relation that stays is made of a query", "make it TEMPORARY; or CREATE TABLE with its columns, and INSERT … SELECT of columns that are not masked")
		return false
	}
	return t.newName(r)
}

// createView allows a temporary view of columns that are not masked. Whoever reads it through the gate
// reads it as its definition is then.
func (t *tracer) createView(m *pgquery.ViewStmt, s *scope) {
	if !t.temporaryName(m.View) {
		return
	}
	t.unmaskedCopy(t.statement(unwrap(m.Query), s), "CREATE VIEW")
}

// unmaskedCopy denies what would be made of masked columns.
func (t *tracer) unmaskedCopy(columns []column, construct string) {
	if !t.violated() {
		t.fault.Advice = "name the columns that are wanted and leave masked ones out: no mask follows them; or have the query itself where the relation would stand, in WITH or FROM"
	}
	t.unmasked(columns, construct)
	if !t.violated() {
		t.fault.Advice = ""
	}
}

// plainOperatorClasses are the server's own and those of extensions that compute.
var plainOperatorClasses = words(`text_pattern_ops varchar_pattern_ops bpchar_pattern_ops text_ops varchar_ops int4_ops int8_ops jsonb_ops jsonb_path_ops array_ops inet_ops
	gin_trgm_ops gist_trgm_ops`)

// indexMethods are the server's own.
var indexMethods = words("btree hash gin gist spgist brin")

// createIndex allows an index over a table without masked columns.
func (t *tracer) createIndex(m *pgquery.IndexStmt, s *scope) {
	r := t.unmaskedTable(m.Relation)
	if r == nil {
		return
	}
	if m.TableSpace != "" || len(m.ExcludeOpNames) > 0 || !indexMethods[m.AccessMethod] {
		t.deny("an index is made in a way that is not known")
	}
	if m.Concurrent {
		t.deny("an index is made concurrently, which cannot follow its verification; leave CONCURRENTLY out")
	}
	level := s.inner()
	t.add(level, &source{name: r.name, schema: r.schema, table: r.name, columns: r.columns})
	for _, n := range slices.Concat(m.IndexParams, m.IndexIncludingParams) {
		e := n.GetIndexElem()
		if e == nil || len(e.Opclass) > 1 || len(e.Opclass) == 1 && !plainOperatorClasses[last(e.Opclass)] {
			t.deny("an index has an operator class that is not known")
			return
		}
		t.stored(e.Expr, level, "an index")
	}
	t.stored(m.WhereClause, level, "an index")
}

// alterTable allows changes of a table without masked columns.
func (t *tracer) alterTable(m *pgquery.AlterTableStmt, s *scope) {
	if m.Objtype != pgquery.ObjectType_OBJECT_TABLE {
		t.deny("something else than a table is altered")
		return
	}
	r := &relation{kind: 'r', name: m.Relation.GetRelname()}
	if !m.MissingOk || t.names.find(m.Relation.GetSchemaname(), m.Relation.GetRelname()) != nil {
		// One that does not exist is altered as one without columns: it may by then.
		if r = t.unmaskedTable(m.Relation); r == nil {
			return
		}
	}
	if r.kind == 'r' && r.kin {
		// A child may have more columns, masked ones, which what is altered here may become the same as.
		t.deny("a table is altered that is a partition, or shares rows with others by inheritance")
		return
	}
	level := s.inner()
	src := &source{name: r.name, schema: r.schema, table: r.name, columns: slices.Clone(r.columns)}
	for _, n := range m.Cmds {
		if d := n.GetAlterTableCmd().GetDef().GetColumnDef(); d != nil && n.GetAlterTableCmd().Subtype == pgquery.AlterTableType_AT_AddColumn {
			src.columns = append(src.columns, t.newColumn(m.Relation, d.Colname))
		}
	}
	t.add(level, src)
	for _, n := range m.Cmds {
		t.alter(n.GetAlterTableCmd(), level)
		t.checkedAgain(n.GetAlterTableCmd(), r)
	}
}

// checkedAgain refuses what has the server look at foreign keys again where these refer to masked
// values, or are referred to by such: whether it succeeds would tell of them.
func (t *tracer) checkedAgain(m *pgquery.AlterTableCmd, r *relation) {
	switch m.GetSubtype() {
	case pgquery.AlterTableType_AT_AlterColumnType, pgquery.AlterTableType_AT_ValidateConstraint:
		if len(r.telling) > 0 || r.held {
			t.deny("a table is altered whose foreign keys have to do with masked columns")
		}
	default: // what else is admitted looks at the table alone
	}
}

func (t *tracer) alter(m *pgquery.AlterTableCmd, s *scope) {
	if m == nil || m.Behavior == pgquery.DropBehavior_DROP_CASCADE {
		t.deny("a table is altered in a way that reaches beyond it")
		return
	}
	switch m.Subtype {
	case pgquery.AlterTableType_AT_AddColumn:
		if m.Def.GetColumnDef() == nil {
			t.deny("a table is altered in a way that is not known")
			return
		}
		t.columnDefinition(m.Def.GetColumnDef(), s)
	case pgquery.AlterTableType_AT_ColumnDefault:
		t.stored(m.Def, s, "DEFAULT")
	case pgquery.AlterTableType_AT_AddConstraint:
		t.constraint(m.Def.GetConstraint(), s)
	case pgquery.AlterTableType_AT_AlterColumnType:
		d := m.Def.GetColumnDef()
		t.typeName(d.GetTypeName())
		t.stored(d.GetRawDefault(), s, "USING")
	case pgquery.AlterTableType_AT_DropColumn, pgquery.AlterTableType_AT_DropNotNull, pgquery.AlterTableType_AT_SetNotNull, pgquery.AlterTableType_AT_DropConstraint,
		pgquery.AlterTableType_AT_SetStatistics, pgquery.AlterTableType_AT_ValidateConstraint, pgquery.AlterTableType_AT_DropIdentity, pgquery.AlterTableType_AT_DropExpression:
	default:
		t.deny("a table is altered in a way that is not known")
	}
}

// drop allows to drop what holds no masked column, and nothing along with it.
func (t *tracer) drop(m *pgquery.DropStmt) {
	if m.Behavior == pgquery.DropBehavior_DROP_CASCADE {
		t.deny("a definition is dropped with all that depends on it")
		return
	}
	if m.Concurrent {
		t.deny("an index is dropped concurrently, which cannot follow its verification; leave CONCURRENTLY out")
	}
	switch m.RemoveType {
	case pgquery.ObjectType_OBJECT_TABLE, pgquery.ObjectType_OBJECT_VIEW, pgquery.ObjectType_OBJECT_MATVIEW, pgquery.ObjectType_OBJECT_SEQUENCE, pgquery.ObjectType_OBJECT_INDEX:
	case pgquery.ObjectType_OBJECT_SCHEMA:
		return
	case pgquery.ObjectType_OBJECT_TYPE:
		return
	default:
		t.deny("a definition is dropped of a kind that is not dropped on a target with masks")
		return
	}
	for _, o := range m.Objects {
		t.dropRelation(names(o.GetList().GetItems()), m.MissingOk)
	}
}

func (t *tracer) dropRelation(name []string, missing bool) {
	var r *relation
	switch len(name) {
	case 1:
		r = t.names.find("", name[0])
	case 2:
		r = t.names.find(name[0], name[1])
	}
	switch {
	case r == nil && missing && (len(name) == 1 || len(name) == 2):
		return
	case r == nil:
		t.deny("what is dropped does not exist, or cannot be seen")
		return
	case r.system || r.temporary && r.schema != t.names.temp:
		t.deny("a relation of the server's or of another session is dropped")
		return
	}
	for _, c := range r.columns {
		if (c.mask != 0 || c.secret) && !r.temporary {
			t.denyColumn(c, "belongs to a table that is dropped")
			return
		}
	}
	r.written = true
	t.used[r] = true
}
