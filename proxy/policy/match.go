package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// Bounds of a rule's lists, the same as in the API's schema, which does not stand between
// a file and the proxy.
const (
	maxMatches  = 32
	maxPatterns = 64
)

var (
	knownStatements = kinds(
		"Select", "Insert", "Update", "Delete", "Merge", "Truncate", "Copy", "Create", "Alter", "Drop", "Rename",
		"Comment", "Grant", "Revoke", "Call", "Do", "Execute", "Prepare", "Deallocate", "Declare", "Fetch", "Close",
		"Explain", "Show", "Set", "Reset", "Discard", "Begin", "Commit", "Rollback", "Savepoint", "Listen", "Unlisten",
		"Notify", "Lock", "Vacuum", "Analyze", "Cluster", "Reindex", "Refresh", "Checkpoint", "Load", "Reassign",
		"SecurityLabel", "ImportForeignSchema")
	knownGroups = []sql.Group{sql.GroupRead, sql.GroupWrite, sql.GroupDefinition, sql.GroupPrivilege,
		sql.GroupSession, sql.GroupTransaction, sql.GroupAdministration}
	objectPattern = regexp.MustCompile(`^[A-Z][A-Za-z]{0,31}$`)
)

func kinds(names ...sql.Kind) map[sql.Kind]bool {
	m := make(map[sql.Kind]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// relationGlob matches relations by schema and name.
type relationGlob struct{ schema, name glob }

// match is one compiled item of a CommandRule. Fields that are nil or empty hold always.
type match struct {
	kinds     map[sql.Kind]bool
	groups    []sql.Group
	objects   []string
	writes    v1alpha1.SQLWrites
	relations []relationGlob
	functions []glob
	// The four are of items which speak of no SQL.
	request *requestMatch
	shell   *shellMatch
	ssh     *sshMatch
	files   *fileMatch
	// expression is asked last, of a command that everything else matches.
	expression *expression
	strict     bool
}

// compileMatch compiles an item. Letter case in names counts only where strict is set: a
// rule that admits must not admit more than it says, a rule that refuses not less.
func compileMatch(m v1alpha1.CommandMatch, strict bool) (match, error) {
	others := m.Kubernetes != nil || m.Shell != nil || m.SSH != nil || m.Files != nil
	if m.SQL != nil && !others {
		return compileSQLMatch(m.SQL, strict)
	}
	if err := checkCombination(m, strict); err != nil {
		return match{}, err
	}
	var c match
	var err error
	if m.SSH != nil {
		if c.ssh, err = compileSSHMatch(m.SSH); err != nil {
			return match{}, err
		}
	}
	if m.Files != nil {
		if c.files, err = compileFileMatch(m.Files); err != nil {
			return match{}, err
		}
	}
	if m.Kubernetes != nil {
		if c.request, err = compileRequestMatch(m.Kubernetes); err != nil {
			return match{}, err
		}
	}
	if m.Shell != nil {
		c.shell, err = compileShellMatch(m.Shell, strict)
	}
	return c, err
}

// checkCombination says what is wrong with an item that is not about SQL alone.
func checkCombination(m v1alpha1.CommandMatch, strict bool) error {
	switch {
	case m.SQL != nil, m.Kubernetes == nil && m.Shell == nil && m.SSH == nil && m.Files == nil:
		return errors.New("either sql, or others than sql must be set")
	case m.Kubernetes != nil && (m.SSH != nil || m.Files != nil):
		return errors.New("kubernetes goes with shell alone")
	case m.Files != nil && m.Shell != nil:
		return errors.New("files and shell are of different commands: use two items")
	case strict && m.Shell == nil:
		return errors.New("with action Allow shell must be set: what else is permitted is the role's, or the grant's, to say")
	}
	return nil
}

func compileSQLMatch(s *v1alpha1.SQLMatch, strict bool) (match, error) {
	if len(s.Statements)+len(s.Groups)+len(s.Relations)+len(s.Functions) == 0 && s.Writes == "" && s.Expression == "" {
		return match{}, errors.New("sql: at least one of statements, groups, writes, relations, functions and expression must be set")
	}
	if len(s.Objects) > 0 && len(s.Statements)+len(s.Groups) == 0 {
		return match{}, errors.New("sql.objects: only with statements or groups")
	}
	if max(len(s.Statements), len(s.Groups), len(s.Objects), len(s.Relations), len(s.Functions)) > maxPatterns {
		return match{}, fmt.Errorf("sql: a list has more than %d items", maxPatterns)
	}
	c := match{objects: s.Objects, writes: s.Writes, strict: strict}
	if err := c.compileNodes(s); err != nil {
		return match{}, err
	}
	for _, r := range s.Relations {
		schema, name, ok := strings.Cut(r, ".")
		if !ok || schema == "" || name == "" || strings.Contains(name, ".") {
			return match{}, fmt.Errorf("sql.relations: %q is not SCHEMA.NAME; write \"*.%s\" for every schema", r, strings.ReplaceAll(r, ".", ""))
		}
		c.relations = append(c.relations, relationGlob{newGlob(schema, !strict), newGlob(name, !strict)})
	}
	for _, f := range s.Functions {
		if f == "" || strings.Contains(f, ".") {
			return match{}, fmt.Errorf("sql.functions: %q is not a name without schema", f)
		}
		c.functions = append(c.functions, newGlob(f, !strict))
	}
	if s.Expression != "" {
		e, err := compileExpression(s.Expression)
		if err != nil {
			return match{}, fmt.Errorf("sql.expression: %w", err)
		}
		c.expression = e
	}
	return c, nil
}

func (m *match) compileNodes(s *v1alpha1.SQLMatch) error {
	for _, k := range s.Statements {
		if !knownStatements[sql.Kind(k)] {
			return fmt.Errorf("sql.statements: %q is no known statement", k)
		}
		if m.kinds == nil {
			m.kinds = make(map[sql.Kind]bool, len(s.Statements))
		}
		m.kinds[sql.Kind(k)] = true
	}
	for _, g := range s.Groups {
		if !slices.Contains(knownGroups, sql.Group(g)) {
			return fmt.Errorf("sql.groups: %q is no known group", g)
		}
		m.groups = append(m.groups, sql.Group(g))
	}
	for _, o := range s.Objects {
		if !objectPattern.MatchString(o) {
			return fmt.Errorf("sql.objects: %q is not a kind of object such as Database", o)
		}
	}
	switch s.Writes {
	case "", v1alpha1.WritesAny, v1alpha1.WritesUnfiltered:
		return nil
	}
	return fmt.Errorf("sql.writes: %q is not Any or Unfiltered", s.Writes)
}

// matches reports whether the item governs a command: some node has every property of a
// node that the item names, some relation and some function are among those it names, and
// the expression holds. An error says that the expression could not be evaluated: such an
// item governs, unless its rule admits.
func (m *match) matches(q *question) (bool, error) {
	if !m.names(q.facts) {
		return false, nil
	}
	if m.expression == nil {
		return true, nil
	}
	a := q.ask(m.expression)
	return a.holds || a.err != nil && !m.strict, a.err
}

func (m *match) isSQL() bool {
	return m.request == nil && m.shell == nil && m.ssh == nil && m.files == nil
}

func (m *match) names(f *sql.Facts) bool {
	return m.isSQL() && slices.ContainsFunc(f.Nodes, func(n sql.Node) bool { return m.node(&n, f) }) &&
		(len(m.relations) == 0 || slices.ContainsFunc(f.Relations, m.relation)) &&
		(len(m.functions) == 0 || slices.ContainsFunc(f.Functions, m.function) || slices.ContainsFunc(f.Attributes, m.attribute))
}

// admits reports whether the item speaks of node n of a command and of everything that
// the command uses: all its relations and all its functions are among those it names, and
// the expression holds. One that could not be evaluated admits nothing.
func (m *match) admits(n *sql.Node, q *question) bool {
	f := q.facts
	if !m.isSQL() || !m.node(n, f) || !m.admitsRelations(f) || len(m.functions) > 0 && !m.admitsFunctions(f) {
		return false
	}
	return m.expression == nil || q.ask(m.expression).holds
}

func (m *match) admitsRelations(f *sql.Facts) bool {
	if len(m.relations) == 0 {
		return true
	}
	for _, r := range f.Relations {
		if !slices.ContainsFunc(m.relations, func(g relationGlob) bool {
			return r.Name != "" && g.name.match(r.Name) && (g.schema.any() || r.Schema != "" && g.schema.match(r.Schema))
		}) {
			return false
		}
	}
	return len(f.Relations) > 0
}

// admitsFunctions reports whether the item names functions and all of the command's are
// among them.
func (m *match) admitsFunctions(f *sql.Facts) bool {
	if len(m.functions) == 0 {
		return false
	}
	for _, fn := range f.Functions {
		if !slices.ContainsFunc(m.functions, func(g glob) bool { return fn.Name != "" && g.match(fn.Name) }) {
			return false
		}
	}
	return len(f.Functions) > 0
}

func (m *match) node(n *sql.Node, f *sql.Facts) bool {
	if m.kinds != nil && !m.kinds[n.Kind] || m.groups != nil && !slices.Contains(m.groups, n.Group) {
		return false
	}
	if len(m.objects) > 0 && !slices.Contains(m.objects, n.Object) {
		return false
	}
	switch m.writes {
	case v1alpha1.WritesAny:
		return m.isWrite(n, f)
	case v1alpha1.WritesUnfiltered:
		return isUnfiltered(n)
	}
	return true
}

func isUnfiltered(n *sql.Node) bool { return n.Unfiltered || n.Kind == "Truncate" }

// isWrite reports whether a statement changes rows. A rule that refuses takes a call of a
// function that may write for one.
func (m *match) isWrite(n *sql.Node, f *sql.Facts) bool {
	switch n.Kind {
	case "Insert", "Update", "Delete", "Merge", "Truncate":
		return true
	case "Copy":
		return n.Group == sql.GroupWrite
	}
	return !m.strict && n.Group == sql.GroupWrite && slices.Contains(f.Features, sql.FeatureFunctionCall)
}

func (m *match) relation(r sql.Relation) bool {
	return slices.ContainsFunc(m.relations, func(g relationGlob) bool {
		return g.schema.matchOrUnknown(r.Schema) && g.name.matchOrUnknown(r.Name)
	})
}

func (m *match) function(f sql.Function) bool {
	return slices.ContainsFunc(m.functions, func(g glob) bool { return g.matchOrUnknown(f.Name) })
}

// attribute is about x.f, which may call the function f.
func (m *match) attribute(name string) bool {
	return slices.ContainsFunc(m.functions, func(g glob) bool { return g.match(name) })
}
