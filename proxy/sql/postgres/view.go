package postgres

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// A view is read as the sub-select that it stands for. Its text is the server's own
// (pg_get_viewdef), made from the stored tree at the moment of asking, so that it follows
// renames. What the names of relations in that text mean is not looked up again but taken
// from the tree's dependencies: the server leaves out the schema exactly of those relations
// that are visible, and relations and dependencies must be the same set. Functions,
// operators and types must be built in by the dependencies and by their names.

const (
	maxViewDepth = 16
	maxViews     = 64
	maxViewText  = 256 << 10 // of all views of a command
)

// viewsQuery asks for the definitions of views and of all views beneath them, and for what
// they depend on. Its parameter is their OIDs.
var viewsQuery = func() string {
	dependencies := `pg_catalog.pg_rewrite w JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_rewrite'::pg_catalog.regclass` +
		` AND d.objid OPERATOR(pg_catalog.=) w.oid AND w.ev_type OPERATOR(pg_catalog.=) '1'`
	relation := ` AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid OPERATOR(pg_catalog.<>) w.ev_class` +
		` JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) d.refobjid JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace`
	return `WITH RECURSIVE beneath(oid, depth) AS (SELECT r.o, 1 FROM pg_catalog.unnest($1::pg_catalog.oid[]) r(o)` +
		` UNION SELECT c.oid, b.depth OPERATOR(pg_catalog.+) 1 FROM beneath b JOIN ` + dependencies + ` ON w.ev_class OPERATOR(pg_catalog.=) b.oid` + relation +
		` WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{v,m}'::pg_catalog."char"[]) AND n.nspname OPERATOR(pg_catalog.<>) ALL ('{pg_catalog,information_schema}'::pg_catalog.name[])` +
		` AND b.depth OPERATOR(pg_catalog.<) ` + strconv.Itoa(maxViewDepth) + `),` +
		` v(oid) AS (SELECT DISTINCT b.oid FROM beneath b LIMIT ` + strconv.Itoa(maxViews+1) + `)` +
		` SELECT 'view', v.oid::pg_catalog.text, pg_catalog.left(pg_catalog.pg_get_viewdef(v.oid), ` + strconv.Itoa(maxViewText+1) + `), NULL::pg_catalog.text, NULL::pg_catalog.text FROM v` +
		` UNION ALL SELECT DISTINCT 'relation', w.ev_class::pg_catalog.text, c.oid::pg_catalog.text, pg_catalog.json_build_array(n.nspname, c.relname)::pg_catalog.text,` +
		` pg_catalog.concat(c.relkind, c.relpersistence, CASE WHEN pg_catalog.pg_table_is_visible(c.oid) THEN 'v' ELSE '-' END, c.xmin)` +
		` FROM v JOIN ` + dependencies + ` ON w.ev_class OPERATOR(pg_catalog.=) v.oid` + relation +
		` UNION ALL SELECT DISTINCT 'other', w.ev_class::pg_catalog.text, d.refclassid::pg_catalog.text, d.refobjid::pg_catalog.text,` +
		` (SELECT pg_catalog.json_build_array(n.nspname, p.proname, ` + functionOf + `)::pg_catalog.text FROM pg_catalog.pg_proc p` +
		` JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) p.pronamespace WHERE p.oid OPERATOR(pg_catalog.=) d.refobjid` +
		` AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass)` +
		` FROM v JOIN ` + dependencies + ` ON w.ev_class OPERATOR(pg_catalog.=) v.oid` +
		` WHERE d.refobjid OPERATOR(pg_catalog.>=) ` + firstUserOID + `::pg_catalog.oid AND d.refclassid OPERATOR(pg_catalog.<>) ALL (ARRAY['pg_catalog.pg_class'::pg_catalog.regclass,` +
		` 'pg_catalog.pg_constraint'::pg_catalog.regclass, 'pg_catalog.pg_collation'::pg_catalog.regclass]::pg_catalog.oid[])` +
		` AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_depend m JOIN pg_catalog.pg_extension e ON e.oid OPERATOR(pg_catalog.=) m.refobjid` +
		` WHERE m.classid OPERATOR(pg_catalog.=) d.refclassid AND m.objid OPERATOR(pg_catalog.=) d.refobjid` +
		` AND m.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass AND m.deptype OPERATOR(pg_catalog.=) 'e'` +
		` AND e.extname OPERATOR(pg_catalog.=) ANY (` + allowedExtensions + `))`
}()

// view is the definition of one.
type view struct {
	text      string
	query     *pgquery.SelectStmt
	refused   string               // why it cannot be used
	relations map[uint32]*relation // that it depends on
	visible   map[uint32]bool      // those without their schema in the text
	names     *meanings
	seen      map[uint32]bool // relations that the text names
	state     int
	functions []sql.Function // that it calls
	attribute []string       // as Facts.Attributes
}

const (
	unread = iota
	reading
	read
)

// views are those that a command may read, by OID.
type views struct {
	of map[uint32]*view
	d  *definitions
}

// expandable reports whether a relation is read as the query that it stands for. What a
// materialized view holds is what its query yielded once.
func (r *relation) expandable() bool { return (r.kind == 'v' || r.kind == 'm') && !r.system }

// loadViews reads the definitions of the views that names may mean.
func (a *Analyzer) loadViews(ctx context.Context, in Input, d *definitions, names *meanings) (*views, error) {
	vs := &views{of: map[uint32]*view{}, d: d}
	known := map[uint32]*relation{}
	var roots []uint32
	for _, r := range names.relations {
		known[r.oid] = r
		if r.expandable() {
			roots = append(roots, r.oid)
		}
	}
	if len(roots) == 0 {
		return vs, nil
	}
	slices.Sort(roots)
	q := columnsOf(roots)
	q.SQL = viewsQuery
	rows, err := d.read(ctx, in.Catalog, q)
	if err != nil {
		return nil, err
	}
	found, err := vs.add(rows, known, in.Columns.Functions(), in.Catalog.OwnPath())
	if err != nil {
		return nil, err
	}
	if vs.bound(); len(vs.of) == 0 {
		return vs, nil
	}
	if err := a.describe(ctx, in, d, found); err != nil {
		return nil, err
	}
	var m mentioned
	for _, oid := range vs.oids() {
		if err := a.readView(ctx, vs.of[oid], &m); err != nil {
			return nil, err
		}
	}
	return vs, a.viewMeanings(ctx, in, d, vs, &m, known)
}

func (vs *views) oids() []uint32 {
	list := make([]uint32, 0, len(vs.of))
	for oid := range vs.of {
		list = append(list, oid)
	}
	slices.Sort(list)
	return list
}

// bound drops all views if there are too many or their texts are too long.
func (vs *views) bound() {
	size := 0
	for _, v := range vs.of {
		size += len(v.text)
	}
	if len(vs.of) > maxViews || size > maxViewText {
		clear(vs.of)
	}
}

// add takes the answer to viewsQuery and returns the relations that were not known before.
func (vs *views) add(rows [][]*string, known map[uint32]*relation, pinned []sql.PinnedFunction, ownPath bool) ([]*relation, error) {
	var found []*relation
	for _, row := range rows {
		if values(row)[0] == "view" {
			oid, err := parseOID(values(row)[1])
			if err != nil {
				return nil, err
			}
			vs.of[oid] = &view{text: values(row)[2], relations: map[uint32]*relation{}, visible: map[uint32]bool{}, seen: map[uint32]bool{}}
		}
	}
	for _, row := range rows {
		w := values(row)
		owner, err := parseOID(w[1])
		v := vs.of[owner]
		if err != nil || v == nil {
			return nil, errCatalogAnswer
		}
		switch w[0] {
		case "other":
			err = v.uses(w[4], pinned, ownPath)
		case "relation":
			var r *relation
			if r, err = v.reads(w, known); r != nil {
				found = append(found, r)
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return found, nil
}

// uses takes a function, operator or type of a user that a view's text uses: what is said of
// a function, empty for the others.
func (v *view) uses(function string, pinned []sql.PinnedFunction, ownPath bool) error {
	var f [3]string
	if function == "" || json.Unmarshal([]byte(function), &f) != nil {
		v.refused = "it uses an operator or type that is not built in"
		return nil //nolint:nilerr // the view is refused
	}
	own, err := readFunction(f[0], f[1], f[2])
	if err != nil {
		return err
	}
	if !pins(pinned, own) {
		v.refused = "it calls a function of a user that no rule pins as it is"
	} else if ownPath && !own.Path {
		v.refused = "the session has set search_path, and it calls a function that has none of its own"
	}
	return nil
}

// reads takes a relation that a view's text names, and returns it if it was not known.
func (v *view) reads(w [5]string, known map[uint32]*relation) (found *relation, err error) {
	oid, err := parseOID(w[2])
	var name [2]string
	if err != nil || len(w[4]) < 4 || json.Unmarshal([]byte(w[3]), &name) != nil {
		return nil, errCatalogAnswer
	}
	r := known[oid]
	if r == nil {
		r = &relation{oid: oid, schema: name[0], name: name[1], kind: w[4][0], temporary: w[4][1] == 't',
			system: name[0] == "pg_catalog" || name[0] == "information_schema", influence: newInfluence()}
		known[oid], found = r, r
	}
	if r.schema != name[0] || r.name != name[1] || r.kind != w[4][0] {
		v.refused = "a definition changed"
	}
	v.relations[oid], v.visible[oid] = r, w[4][2] == 'v'
	return found, nil
}

func parseOID(s string) (uint32, error) {
	oid, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, errCatalogAnswer
	}
	return uint32(oid), nil
}

// readView parses a view's text and notes what it does.
func (a *Analyzer) readView(ctx context.Context, v *view, m *mentioned) error {
	tree, facts, err := a.read(ctx, []byte(v.text))
	if err != nil {
		return err
	}
	if tree == nil {
		v.refused = "its definition cannot be read"
		return nil
	}
	c := classifier{facts: facts, text: []byte(v.text)}
	c.command(tree)
	q, ok := single(tree).(*pgquery.SelectStmt)
	// A function of a user that is pinned counts as a write in a statement that calls it.
	own := slices.Equal(facts.Features, []string{sql.FeatureFunctionCall})
	if !ok || len(tree.Stmts) != 1 || !facts.Known || len(facts.Features) > 0 && !own ||
		slices.ContainsFunc(facts.Nodes, func(n sql.Node) bool { return n.Group != sql.GroupRead && (!own || n.Group != sql.GroupWrite) }) {
		v.refused = "it does more than to read tables by functions that are built in"
		return nil
	}
	v.query, v.functions, v.attribute = q, facts.Functions, facts.Attributes
	mention(q, m, 0)
	return nil
}

// firstRecordedOID is the lowest of objects that dependencies are recorded for.
const firstRecordedOID = 12000

// viewMeanings establishes what the names in the views' texts mean.
func (a *Analyzer) viewMeanings(ctx context.Context, in Input, d *definitions, vs *views, m *mentioned, known map[uint32]*relation) error {
	m.schemas = append(m.schemas, "pg_catalog")
	m.operators = append(m.operators, impliedOperators...)
	m.normalize()
	rows, err := d.read(ctx, in.Catalog, m.question())
	if err != nil {
		return err
	}
	all := newMeanings()
	if err := all.add(rows); err != nil {
		return err
	}
	// The server's own relations are not among the dependencies. A name without schema that
	// is not among them either can mean nothing else.
	var catalogs, found []*relation
	for _, r := range all.relations {
		if r.schema != "pg_catalog" || r.oid >= firstRecordedOID {
			continue
		}
		if known[r.oid] == nil {
			known[r.oid] = r
			found = append(found, r)
		}
		catalogs = append(catalogs, known[r.oid])
	}
	if err := a.describe(ctx, in, d, found); err != nil {
		return err
	}
	for _, v := range vs.of {
		names := *all
		names.path, names.relations = []string{""}, map[[2]string]*relation{}
		for _, r := range catalogs {
			names.relations[[2]string{"pg_catalog", r.name}], names.relations[[2]string{"", r.name}] = r, r
		}
		for oid, r := range v.relations {
			names.relations[[2]string{r.schema, r.name}] = r
			if v.visible[oid] {
				names.relations[[2]string{"", r.name}] = r
			}
		}
		v.names = &names
	}
	return nil
}

// expand establishes the columns of a view, once.
func (t *tracer) expand(r *relation) {
	v := t.views.of[r.oid]
	switch {
	case v == nil:
		t.deny("the view " + quoteIdent(r.name) + " cannot be used: its definition, with all views beneath it, is too large or nests too deeply")
		return
	case v.state == read:
		return
	case v.state == reading:
		t.deny("the view " + quoteIdent(r.name) + " reads itself")
		return
	case v.refused != "":
		t.deny("the view " + quoteIdent(r.name) + " cannot be used: " + v.refused)
		return
	}
	v.state = reading
	names, within := t.names, t.view
	t.names, t.view = v.names, v
	out := t.query(v.query, &scope{})
	t.names, t.view = names, within
	if t.violated() {
		t.violation = "the view " + quoteIdent(r.name) + " cannot be used: " + t.violation
		return
	}
	v.state = read
	if r.kind == 'm' && r != t.refreshed {
		t.copied(r, v)
	}
	for oid := range v.relations {
		if !v.seen[oid] {
			t.deny("the view " + quoteIdent(r.name) + " cannot be used: it depends on a relation in a way whose lineage is not established")
			return
		}
	}
	t.viewColumns(r, out)
}

// refresh allows to run the query of a materialized view if it could be read itself: the server's counters
// tell how many rows it yields, and an error that it fails.
func (t *tracer) refresh(m *pgquery.RefreshMatViewStmt) {
	r := t.find(m.Relation)
	if r == nil || r.kind != 'm' {
		t.deny("what is refreshed is no materialized view")
		return
	}
	r.written, t.refreshed = true, r
	t.expand(r)
	// A view may show a masked column of which it has an index that allows each value once.
	for _, c := range r.columns {
		if (c.mask != 0 || c.secret) && !c.uses.Equality && r.unique[c.name] {
			t.denyTelling(r, c.name, "is in a unique index of the view, which cannot be refreshed: "+outcomeTells)
			return
		}
	}
}

// copied refuses materialized views whose definition does not tell where what they hold comes
// from: a view beneath may have been another one when they were filled, and a table that shares
// rows with others may have shared them with one that is masked.
func (t *tracer) copied(m *relation, v *view) {
	for _, r := range v.relations {
		if r.kind != 'r' || r.kin {
			t.deny("the materialized view " + quoteIdent(m.name) + " cannot be used: it is not made of plain tables alone")
		}
	}
}

// viewColumns gives the columns of a view the masks of what they show. Where one has a
// mask by its own name, too, and another one, the value is hidden as a whole.
func (t *tracer) viewColumns(r *relation, out []column) {
	if len(out) != len(r.columns) {
		t.deny("the columns of the view " + quoteIdent(r.name) + " are not established")
		return
	}
	for i, c := range out {
		own := &r.columns[i]
		at := origin{r.oid, uint16(i + 1)}
		if _, known := t.views.d.masks[at]; !known || own.name != c.name {
			t.deny("the columns of the view " + quoteIdent(r.name) + " are not established")
			return
		}
		own.secret = own.secret || c.secret
		if own.as != c.as {
			own.as = "" // what the view made of the value may be coarser than the value
		}
		switch {
		case c.mask == 0:
		case own.mask == 0:
			own.mask, own.origin, own.uses = c.mask, c.origin, c.uses
		case own.mask != c.mask:
			own.mask |= sql.WholeValue
			own.uses = sql.Uses{}
		default:
			own.uses = c.uses
		}
		t.views.d.masks[at] = own.mask
	}
}

// calls adds what the views that were read call to what the command calls.
func (vs *views) calls(f *sql.Facts) {
	for _, oid := range vs.oids() {
		v := vs.of[oid]
		if v.state != read {
			continue
		}
		f.Functions, f.Attributes = union(f.Functions, v.functions), union(f.Attributes, v.attribute)
	}
}

// union appends what the list does not hold yet.
func union[T comparable](list, more []T) []T {
	for _, x := range more {
		if !slices.Contains(list, x) {
			list = append(list, x)
		}
	}
	return list
}
