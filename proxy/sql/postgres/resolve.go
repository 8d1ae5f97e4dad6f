package postgres

import (
	"context"
	"slices"
	"strconv"
	"strings"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// relation is a relation as the session's own backend sees it.
type relation struct {
	oid          uint32
	schema, name string
	kind         byte // pg_class.relkind
	temporary    bool
	system       bool // of pg_catalog or information_schema
	rules        bool // rewrite statements that change it
	kin          bool // it shares rows with others
	columns      []column
	written      bool
	influence
	// drifted is a column in the rules that it does not have; empty for none.
	drifted string
}

// influence is by what, beside its output, a relation would tell of masked values.
type influence struct {
	// telling are columns where the outcome of writing a value tells about others' values of
	// a masked column.
	telling map[string]bool
	// unique are the columns of unique indexes.
	unique map[string]bool
	// checked are columns that the server combines with a masked one when they are written.
	checked map[string]bool
	// moving are the columns that say in which partition a row is: a row that goes to another is
	// written there anew. guarded says that what is written there is held against masked values.
	moving  map[string]bool
	guarded bool
	// filtered says that a policy shows rows by a masked column, parted is one by which rows are
	// parted; empty for none.
	filtered bool
	parted   string
	// keys are the columns that foreign keys reference, held that a masked column is, directly
	// or through other tables, one of those that do.
	keys map[string]bool
	held bool
}

func newInfluence() influence {
	return influence{telling: map[string]bool{}, unique: map[string]bool{}, checked: map[string]bool{}, moving: map[string]bool{}, keys: map[string]bool{}}
}

// column is an output of a relation, a sub-select or a statement.
type column struct {
	name   string
	mask   sql.MaskRef
	origin string // SCHEMA.TABLE.COLUMN of a masked column
	secret bool   // may not be used at all
	typ    string // OID of a relation's column's type; empty if it is not known
	as     string // as comparedAs says of that type; empty if it is not known
	uses   sql.Uses
}

func (r *relation) masked() bool {
	return slices.ContainsFunc(r.columns, func(c column) bool { return c.mask != 0 || c.secret })
}

// names is what the names of a command mean now.
type meanings struct {
	path      []string // schemas in the order of search
	temp      string   // the session's schema of temporary objects
	relations map[[2]string]*relation
	// shadowed are names of built-in functions, operators and types that mean, or may mean,
	// somebody else's.
	functions, operators, types map[string]bool
	// own are the functions of users by their names, casts those behind casts; searched are
	// the schemas in which names without a schema are looked for.
	own      map[string][]*ownFunction
	casts    []*ownFunction
	ownTypes map[string][]ownType
	searched map[string]bool
	settings map[string]string
}

// ownType is a type of users by its schema. A harmless one may be named.
type ownType struct {
	schema   string
	harmless bool
}

// harmlessType reports whether a name can mean types of users only that may be named.
func (m *meanings) harmlessType(name []string) bool {
	found := false
	last := name[len(name)-1]
	if strings.HasPrefix(last, "_") || arrayTypes[last] || severalColumns[last] {
		return false // it looks like an array of the server's
	}
	for _, t := range m.ownTypes[last] {
		if len(name) == 1 && m.searched[t.schema] || len(name) == 2 && t.schema == name[0] {
			if !t.harmless {
				return false
			}
			found = true
		}
	}
	return found
}

// mention collects the names that the catalog decides on.
func mention(m any, out *mentioned, depth int) {
	if depth > maxDepth {
		return
	}
	switch m := m.(type) {
	case *pgquery.RangeVar:
		out.relations = append(out.relations, m.Relname)
		if m.Schemaname != "" {
			out.schemas = append(out.schemas, m.Schemaname)
		}
	case *pgquery.FuncCall:
		out.functions = append(out.functions, last(m.Funcname))
		if n := names(m.Funcname); len(n) == 2 && n[0] != "pg_catalog" {
			out.schemas = append(out.schemas, n[0])
		}
	case *pgquery.A_Indirection:
		// A field of a row is written as a call of one argument can be.
		out.functions = append(out.functions, names(m.Indirection)...)
	case *pgquery.A_Expr:
		out.operators = append(out.operators, last(m.Name))
	case *pgquery.SubLink:
		out.operators = append(out.operators, last(m.OperName))
	case *pgquery.SortBy:
		out.operators = append(out.operators, last(m.UseOp))
	case *pgquery.TypeName:
		out.types = append(out.types, last(m.Names))
		if n := names(m.Names); len(n) == 2 && n[0] != "pg_catalog" {
			out.schemas = append(out.schemas, n[0])
		}
	case *pgquery.DropStmt:
		for _, o := range m.Objects {
			list := names(o.GetList().GetItems())
			out.relations = append(out.relations, list...)
			out.schemas = append(out.schemas, list...)
		}
	}
	children(m, func(child any) { mention(child, out, depth+1) })
}

func last(list []*pgquery.Node) string {
	n := names(list)
	if len(n) == 0 {
		return ""
	}
	return n[len(n)-1]
}

// impliedOperators are operators that constructs use without naming them.
var impliedOperators = []string{"=", "<>", "<", ">", "<=", ">=", "~~", "~~*", "!~~", "!~~*", "~"}

// resolve reads what a command's names mean.
func (a *Analyzer) resolve(ctx context.Context, in Input, d *definitions, commands ...any) (*meanings, error) {
	catalog := in.Catalog
	if err := a.masked.survey(ctx, catalog, in.Columns, in.Version); err != nil {
		return nil, err
	}
	var m mentioned
	m.operators = append(m.operators, impliedOperators...)
	for _, c := range commands {
		mention(c, &m, 0)
	}
	m.normalize()
	d.wired.names = m
	rows, err := d.read(ctx, catalog, m.question())
	if err != nil {
		return nil, err
	}
	out := newMeanings()
	if err := out.add(rows); err != nil {
		return nil, err
	}
	relations := make([]*relation, 0, len(out.relations))
	for _, r := range out.relations {
		relations = append(relations, r)
	}
	return out, a.describe(ctx, in, d, relations)
}

// normalize sorts the names and leaves each once.
func (m *mentioned) normalize() {
	for _, list := range []*[]string{&m.relations, &m.schemas, &m.functions, &m.operators, &m.types} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
}

func newMeanings() *meanings {
	return &meanings{relations: map[[2]string]*relation{}, functions: map[string]bool{}, operators: map[string]bool{}, types: map[string]bool{},
		settings: map[string]string{}, own: map[string][]*ownFunction{}, ownTypes: map[string][]ownType{}, searched: map[string]bool{}}
}

// describe reads the columns of relations.
func (a *Analyzer) describe(ctx context.Context, in Input, d *definitions, relations []*relation) error {
	if len(relations) == 0 {
		return nil
	}
	oids := make([]uint32, 0, len(relations))
	byOID := map[string]*relation{}
	for _, r := range relations {
		oids = append(oids, r.oid)
		byOID[strconv.FormatUint(uint64(r.oid), 10)] = r
	}
	slices.Sort(oids)
	rows, err := d.read(ctx, in.Catalog, columnsOf(oids))
	if err != nil {
		return err
	}
	former, err := a.masked.formerly(ctx, in.Catalog, d, rows, in.Columns)
	if err != nil {
		return err
	}
	k := &known{masks: in.Columns, masked: a.masked, database: in.Catalog.database, former: former}
	return k.describeColumns(rows, byOID, d)
}

// creation is the schema in which a relation is made whose name has none.
func (m *meanings) creation() string {
	for _, schema := range m.path {
		if schema != "pg_catalog" && schema != m.temp {
			return schema
		}
	}
	return ""
}

// add takes the answer to namesQuery.
func (m *meanings) add(rows [][]*string) error {
	type schema struct {
		at   int
		name string
	}
	var path []schema
	for _, row := range rows {
		v := values(row)
		switch v[0] {
		case "schema":
			at, err := strconv.Atoi(v[2])
			if err != nil {
				return errCatalogAnswer
			}
			path = append(path, schema{at, v[1]})
		case "setting":
			m.settings[v[1]] = v[2]
		case "temp":
			m.temp = v[1]
		case "cast":
			f, err := readFunction(v[3], v[2], v[4])
			if err != nil {
				return err
			}
			m.casts = append(m.casts, f)
		case "function":
			f, err := readFunction(v[2], v[1], v[3])
			if err != nil {
				return err
			}
			m.own[f.name] = append(m.own[f.name], f)
		case "operator":
			m.operators[v[1]] = true
		case "type":
			m.ownTypes[v[1]] = append(m.ownTypes[v[1]], ownType{v[2], v[3] != ""})
		case "relation":
			oid, err := parseOID(v[3])
			if err != nil || len(v[4]) < 3 {
				return errCatalogAnswer
			}
			m.relations[[2]string{v[2], v[1]}] = &relation{oid: oid, schema: v[2], name: v[1], kind: v[4][0], temporary: v[4][1] == 't', rules: v[4][2] == 'r',
				system: v[2] == "pg_catalog" || v[2] == "information_schema", influence: newInfluence()}
		}
	}
	slices.SortFunc(path, func(a, b schema) int { return a.at - b.at })
	for _, s := range path {
		m.path = append(m.path, s.name)
		m.searched[s.name] = true
	}
	for name, list := range m.ownTypes {
		m.types[name] = slices.ContainsFunc(list, func(t ownType) bool { return m.searched[t.schema] })
	}
	for name, list := range m.own {
		m.functions[name] = slices.ContainsFunc(list, func(f *ownFunction) bool { return m.searched[f.schema] && !f.Extension })
	}
	return nil
}

func values(row []*string) [5]string {
	var v [5]string
	for i := range v {
		if row[i] != nil {
			v[i] = *row[i]
		}
	}
	return v
}

// find returns the relation that a name means; nil if there is none.
func (m *meanings) find(schema, name string) *relation {
	if schema == "pg_temp" {
		schema = m.temp
	}
	if schema != "" {
		return m.relations[[2]string{schema, name}]
	}
	for _, s := range m.path {
		if r := m.relations[[2]string{s, name}]; r != nil {
			return r
		}
	}
	return nil
}

// known is what tells which columns are masked.
type known struct {
	masks    sql.Columns
	masked   *identities
	database string
	former   map[string]map[string][]sql.ColumnName // as identities.formerly returns it
}

// describeColumns takes the answer to columnsQuery.
func (k *known) describeColumns(rows [][]*string, byOID map[string]*relation, d *definitions) error {
	type attribute struct {
		number        int
		name, typ, as string
	}
	attributes := map[string][]attribute{}
	kin := map[string][][3]string{}
	for _, row := range rows {
		v := values(row)
		if byOID[v[1]] == nil {
			return errCatalogAnswer
		}
		switch v[0] {
		case "column":
			n, err := strconv.Atoi(v[2])
			if err != nil {
				return errCatalogAnswer
			}
			typ, as, _ := strings.Cut(v[4], ";")
			attributes[v[1]] = append(attributes[v[1]], attribute{n, v[3], strings.TrimSpace(typ), as})
		case "kin":
			kin[v[1]] = append(kin[v[1]], [3]string{v[2], v[3], v[4]})
			byOID[v[1]].kin = byOID[v[1]].kin || v[4] != v[1]
		}
	}
	numbered := map[string]map[string]*column{}
	for oid, r := range byOID {
		list := attributes[oid]
		slices.SortFunc(list, func(a, b attribute) int { return a.number - b.number })
		r.columns = make([]column, len(list))
		numbered[oid] = map[string]*column{}
		for i, a := range list {
			var err error
			if r.columns[i], err = k.describeColumn(r, a.name, a.number, kin[oid]); err != nil {
				return err
			}
			r.columns[i].typ, r.columns[i].as = a.typ, a.as
			numbered[oid][strconv.Itoa(a.number)] = &r.columns[i]
		}
	}
	k.describeFields(rows, byOID)
	k.describeTelling(rows, byOID)
	for oid, r := range byOID {
		r.drifted = k.drifted(r, numbered[oid])
		d.relations[r.oid] = true
		for n, c := range numbered[oid] {
			number, err := strconv.ParseUint(n, 10, 16)
			if err != nil {
				return errCatalogAnswer
			}
			d.masks[origin{r.oid, uint16(number)}] = c.mask
		}
	}
	return nil
}

// describeColumn finds a column's mask: its own, that of the column of the same name in any
// relation that shares rows with this one, or that of a name which either had when it was
// masked.
func (k *known) describeColumn(r *relation, name string, number int, kin [][3]string) (column, error) {
	id := identity{relationIdentity{k.database, r.oid}, number}
	candidates := []sql.ColumnName{{Schema: r.schema, Table: r.name, Column: name}}
	for _, other := range kin {
		candidates = append(candidates, sql.ColumnName{Schema: other[0], Table: other[1], Column: name})
		candidates = append(candidates, k.former[other[2]][name]...)
	}
	candidates = append(candidates, k.masked.names(id)...)
	c := column{name: name}
	for _, n := range candidates {
		if c.mask = k.masks.Mask(n.Schema, n.Table, n.Column); c.mask == 0 {
			continue
		}
		c.origin = r.schema + "." + r.name + "." + name
		c.uses = k.masks.Uses(c.mask)
		if !r.temporary && !r.system {
			if err := k.masked.put(id, n); err != nil {
				return column{}, err
			}
		}
		break
	}
	if r.schema == "pg_catalog" && hiddenColumns[r.name+"."+name] {
		c.mask, c.origin, c.uses = sql.Hidden, r.schema+"."+r.name+"."+name, sql.Uses{}
	}
	return c, nil
}
