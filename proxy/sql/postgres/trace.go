package postgres

import (
	"context"
	"slices"
	"strings"
	"unicode/utf8"

	pgquery "github.com/pganalyze/pg_query_go/v6"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// tracer establishes the lineage of one command. What it cannot establish sets violation,
// once; from then on nothing it returns counts.
type tracer struct {
	names     *meanings
	views     *views
	view      *view // whose definition is being established; nil outside of views
	used      map[*relation]bool
	violation string
	masked    string    // the column behind the violation
	fault     sql.Fault // its Position in bytes of the text, from 1
	sensitive bool
	// configured says that set_config is called.
	configured bool
	// compares says that a masked column is compared.
	compares bool
	// reads says that a masked column is named, also by a star.
	reads bool
	// ownPath is as Catalog.OwnPath says.
	ownPath bool
	depth   int
	effort  int
	// selects are what the sub-selects in expressions yield.
	selects map[*pgquery.SubLink][]column
	// sub are the statements that EXECUTE and FETCH stand for, by the message that names them.
	sub map[any]any
	// made is what was established of the cursor that FETCH reads, prepared that of what
	// EXECUTE runs; later are the columns of
	// the rows that DECLARE or PREPARE may return later.
	made     *made
	prepared *made
	later    []column
	// declared are the types of the parameters of PREPARE, compared the parameters without a
	// type of their own that are compared with masked columns.
	declared []*pgquery.Node
	pinned   []sql.PinnedFunction
	masks    sql.Columns
	// created are the relations that the command makes; taken reports whether a name for one is that
	// of a relation with masked columns.
	created []sql.Relation
	hides   hides
	// refreshed is the materialized view that the command fills.
	refreshed *relation
	taken     func(name string) bool
	lines     *sql.Lines // of a COPY of masked columns
	compared  []sql.ComparedParameter
}

func (t *tracer) violated() bool { return t.violation != "" }

// deny refuses the command with a sentence that is safe to show.
func (t *tracer) deny(why string) {
	if !t.violated() {
		t.violation = why
	}
}

// denyWith refuses as deny does, and says what to do.
func (t *tracer) denyWith(why, advice string) {
	if !t.violated() {
		t.fault = sql.Fault{Advice: advice}
	}
	t.deny(why)
}

// denyName refuses a command for a name that means nothing, where it stands in the text.
func (t *tracer) denyName(kind sql.FaultKind, at int32, why, advice string) {
	if !t.violated() {
		t.fault = sql.Fault{Kind: kind, Advice: advice}
		if t.view == nil {
			t.fault.Position = int(at) + 1
		}
	}
	t.deny(why)
}

// pointsTo returns the fault of a command with this text, of which m is the statement.
func (t *tracer) pointsTo(text []byte, m any) sql.Fault {
	f := t.fault
	if e, ok := m.(*pgquery.ExplainStmt); ok {
		m = unwrap(e.Query)
	}
	switch m.(type) {
	case *pgquery.ExecuteStmt, *pgquery.FetchStmt: // the place is in another text
		f.Position = 0
	}
	if f.Position--; f.Position < 0 || f.Position > len(text) {
		f.Position = 0
		return f
	}
	f.Position = utf8.RuneCount(text[:f.Position]) + 1
	return f
}

func (t *tracer) denyColumn(c column, why string) {
	if t.violated() {
		return
	}
	t.masked = c.origin
	if c.origin == "" {
		t.deny("the column " + quoteIdent(c.name) + " " + why)
		return
	}
	t.deny("the masked column " + c.origin + " " + why)
}

// trace establishes the lineage of a command on a target with masks.
func (a *Analyzer) trace(ctx context.Context, tree *pgquery.ParseResult, f *sql.Facts, in Input) error {
	if !f.Known {
		return nil
	}
	if len(tree.Stmts) > 1 {
		return a.traceSeveral(ctx, tree, f, in)
	}
	t := &tracer{ownPath: in.Catalog.OwnPath(), used: map[*relation]bool{}, sub: map[any]any{}, selects: map[*pgquery.SubLink][]column{}, pinned: in.Columns.Functions(), masks: in.Columns}
	var out []column
	rows := false
	switch {
	case len(tree.Stmts) == 0:
	case in.Catalog.OwnPath() && runsLate(single(tree)):
		t.denyWith("the session has set search_path, and this may call functions that have none of their own", "connect again, and name tables with their schema")
	case standsAlone(single(tree)):
	case in.Catalog == nil:
		t.deny("what the statement means cannot be established in this state of the session; end the transaction first")
	default:
		d := &definitions{masks: map[origin]sql.MaskRef{}, relations: map[uint32]bool{}, wired: wired{relations: map[uint32]bool{}, plain: plannedWhenBound(f)}}
		if err := a.load(ctx, t, tree, in, d); err != nil {
			return err
		}
		t.taken = func(name string) bool { return a.masked.namesTable(in.Catalog.database, name) }
		if !t.violated() {
			out, rows = t.top(single(tree))
			t.settleCompared(single(tree))
			t.settleConfigured(single(tree))
			t.makes(single(tree), in, d)
			_, d.locks = single(tree).(*pgquery.LockStmt)
			if err := t.settleLate(ctx, in.Catalog, f, d); err != nil {
				return err
			}
			if err := t.settleHidden(ctx, in.Catalog, d); err != nil {
				return err
			}
		}
		f.Definitions = d
	}
	f.Sensitive, f.SensitiveParameters = f.Sensitive || t.sensitive, f.SensitiveParameters || t.sensitive
	if t.violated() {
		f.MaskViolation, f.MaskedColumn, f.Sensitive, f.SensitiveParameters = t.violation, t.masked, true, true
		f.Fault = t.pointsTo(in.Text, single(tree))
		return nil
	}
	f.Compared, f.Lines = t.compared, t.lines
	if rows {
		f.Outputs = outputs(out)
	}
	if t.made != nil {
		f.Relations = t.made.relations
		if rows {
			f.Outputs = t.made.outputs
		}
	}
	if t.views != nil {
		t.views.calls(f)
	}
	if len(t.used) > 0 {
		// What is touched without being named stays, beside what the names mean.
		f.Relations = append(append(t.relations(), t.created...), slices.DeleteFunc(f.Relations, func(r sql.Relation) bool { return r.Name != "" })...)
	}
	return nil
}

// relations lists the relations that the command uses, in a stable order.
func (t *tracer) relations() []sql.Relation {
	var out []sql.Relation
	for r := range t.used {
		out = append(out, sql.Relation{Schema: r.schema, Name: r.name, OID: r.oid, Write: r.written})
	}
	slices.SortFunc(out, func(a, b sql.Relation) int { return int(a.OID) - int(b.OID) })
	return out
}

// load reads what the command's names mean, and what EXECUTE and FETCH stand for.
func (a *Analyzer) load(ctx context.Context, t *tracer, tree *pgquery.ParseResult, in Input, d *definitions) error {
	m := single(tree)
	commands := []any{m}
	if e, ok := m.(*pgquery.ExplainStmt); ok {
		m = unwrap(e.Query)
	}
	inner, err := a.standsFor(ctx, t, m, in, d)
	if err != nil || t.violated() {
		return err
	}
	if inner != nil {
		commands = append(commands, inner)
	}
	t.names, err = a.resolve(ctx, in, d, commands...)
	if err != nil {
		return err
	}
	t.checkSession()
	if t.names.major() == 14 && !plainNumbers(tree, in.Text, 0) {
		t.deny("a number is written in a way that version 14 of the server reads otherwise than later ones")
	}
	if t.violated() {
		return nil
	}
	t.views, err = a.loadViews(ctx, in, d, t.names)
	return err
}

// checkSession refuses sessions in which definitions or texts do not mean what they seem.
func (t *tracer) checkSession() {
	s := t.names.settings
	switch {
	case s["standard_conforming_strings"] != "on":
		t.deny("standard_conforming_strings is off")
	case s["client_encoding"] != "UTF8" || s["server_encoding"] != "UTF8":
		t.deny("the encoding of client or database is not UTF8")
	case !SupportedMajor(t.names.major()):
		t.deny("this release of the server has not been tested with masks")
	case slices.ContainsFunc(t.names.casts, func(f *ownFunction) bool { return !pins(t.pinned, f) || t.ownPath && !f.Path }):
		t.deny("this database has casts by functions of users that no rule pins as they are")
	}
}

// plannedWhenBound reports whether the server plans a command when it binds it: one
// statement that only reads or writes rows.
func plannedWhenBound(f *sql.Facts) bool {
	for _, n := range f.Nodes {
		switch n.Kind {
		case "Select", "Insert", "Update", "Delete":
		default:
			return false
		}
	}
	return f.Statements == 1
}

// standsAlone reports whether a statement means the same whatever is defined.
func standsAlone(m any) bool {
	switch m := m.(type) {
	case *pgquery.TransactionStmt:
		switch m.Kind {
		case pgquery.TransactionStmtKind_TRANS_STMT_BEGIN, pgquery.TransactionStmtKind_TRANS_STMT_START,
			pgquery.TransactionStmtKind_TRANS_STMT_COMMIT, pgquery.TransactionStmtKind_TRANS_STMT_ROLLBACK,
			pgquery.TransactionStmtKind_TRANS_STMT_SAVEPOINT, pgquery.TransactionStmtKind_TRANS_STMT_RELEASE,
			pgquery.TransactionStmtKind_TRANS_STMT_ROLLBACK_TO:
			return true
		default: // two-phase commit is not
			return false
		}
	case *pgquery.VariableSetStmt:
		return plainSetting(m)
	case *pgquery.DiscardStmt:
		// It cannot stand in a transaction, and so not behind the gate's questions. What else
		// it discards is asked for anew, too.
		return m.Target == pgquery.DiscardMode_DISCARD_ALL
	case *pgquery.DeallocateStmt, *pgquery.ClosePortalStmt, *pgquery.ListenStmt, *pgquery.UnlistenStmt, *pgquery.NotifyStmt:
		return true
	}
	return maintains(m)
}

// maintains reports whether a statement returns no rows and shows nothing of any. Rules
// decide on it by its kind and the names in it. CLUSTER is none of them: it would sort a
// table by a masked column, and its rows come in that order then.
func maintains(m any) bool {
	switch m.(type) {
	case *pgquery.VacuumStmt, *pgquery.ReindexStmt, *pgquery.CommentStmt:
		return true
	}
	return false
}

// runsLate reports whether a statement that stands alone evaluates what tables and views
// were defined with.
func runsLate(m any) bool {
	switch m.(type) {
	case *pgquery.VacuumStmt, *pgquery.ReindexStmt, *pgquery.RefreshMatViewStmt:
		return true
	}
	return false
}

func plainSetting(m *pgquery.VariableSetStmt) bool {
	name := strings.ToLower(m.Name)
	switch m.Kind {
	case pgquery.VariableSetKind_VAR_RESET_ALL:
		return true
	case pgquery.VariableSetKind_VAR_SET_MULTI:
		return name == "transaction" || name == "session characteristics"
	case pgquery.VariableSetKind_VAR_SET_VALUE:
		return plainSettings[name] || harmless(m) || setsPlainPath(m)
	case pgquery.VariableSetKind_VAR_SET_DEFAULT, pgquery.VariableSetKind_VAR_RESET, pgquery.VariableSetKind_VAR_SET_CURRENT:
		return plainSettings[name] || setsPlainPath(m)
	default:
		return false
	}
}

// top establishes the one statement of a command and whether it returns rows.
func (t *tracer) top(m any) (out []column, rows bool) {
	s := &scope{}
	switch m := m.(type) {
	case *pgquery.SelectStmt:
		return t.query(m, s), true
	case *pgquery.InsertStmt:
		return t.insert(m, s), len(m.ReturningList) > 0
	case *pgquery.UpdateStmt:
		return t.update(m, s), len(m.ReturningList) > 0
	case *pgquery.DeleteStmt:
		return t.delete(m, s), len(m.ReturningList) > 0
	case *pgquery.MergeStmt:
		return t.merge(m, s), len(m.ReturningList) > 0
	case *pgquery.ExecuteStmt:
		return t.execute(m, s)
	case *pgquery.FetchStmt:
		return t.fetch(m)
	case *pgquery.ExplainStmt:
		t.explain(m)
		return []column{{name: "QUERY PLAN"}}, true
	case *pgquery.VariableShowStmt:
		if strings.EqualFold(m.Name, "all") {
			return make([]column, 3), true
		}
		return make([]column, 1), true
	}
	t.silent(m, s)
	return nil, false
}

// silent establishes a command that returns no rows; those of a COPY come by themselves.
func (t *tracer) silent(m any, s *scope) {
	switch m := m.(type) {
	case *pgquery.CopyStmt:
		t.copy(m, s)
	case *pgquery.TruncateStmt:
		for _, n := range m.Relations {
			t.target(n.GetRangeVar())
		}
	case *pgquery.LockStmt:
		for _, n := range m.Relations {
			t.relation(n.GetRangeVar())
		}
	case *pgquery.RefreshMatViewStmt:
		t.refresh(m)
	case *pgquery.ConstraintsSetStmt:
	case *pgquery.PrepareStmt:
		t.parameterTypes(m.Argtypes)
		t.later = t.prepares(m, s)
	case *pgquery.DeclareCursorStmt:
		t.later = t.statement(unwrap(m.Query), s)
	case *pgquery.DiscardStmt:
	case *pgquery.GrantStmt, *pgquery.GrantRoleStmt, *pgquery.AlterDefaultPrivilegesStmt:
		t.denyWith("rights are given or taken; on a target with masks that could let others see what is masked here, so it is for an administrator",
			"have it done past the gate, with the migrations; rights to tables are the upstream login's, and the grant's access level says what is used of them")
	case *pgquery.VariableSetStmt:
		t.denyWith("the setting "+quoteIdent(m.Name)+" cannot be changed on a target with masks", "leave it as it is, or have the owner of the login set it with ALTER ROLE … SET")
	default:
		t.define(m, s)
	}
}

// statement establishes a statement that stands within another.
func (t *tracer) statement(m any, s *scope) []column {
	switch m := m.(type) {
	case *pgquery.SelectStmt:
		return t.query(m, s)
	case *pgquery.InsertStmt:
		return t.insert(m, s)
	case *pgquery.UpdateStmt:
		return t.update(m, s)
	case *pgquery.DeleteStmt:
		return t.delete(m, s)
	case *pgquery.MergeStmt:
		return t.merge(m, s)
	}
	t.deny("a statement stands within another whose lineage is not established")
	return nil
}

// noMaskedRelation denies a command that tells about the rows of its tables.
func (t *tracer) noMaskedRelation(construct, advice string) {
	for r := range t.used {
		for _, c := range r.columns {
			if c.mask != 0 {
				if !t.violated() {
					t.fault.Advice = advice
				}
				t.denyColumn(c, "belongs to a table that is used by "+construct)
				return
			}
		}
	}
}
