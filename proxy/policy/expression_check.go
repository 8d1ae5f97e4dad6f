package policy

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// vocabulary are the words that a field can hold, for fields with a closed list of them.
type vocabulary struct {
	what  string // that a word has to be
	holds func(string) bool
}

var (
	kindWords    = &vocabulary{"kind of statement, such as Drop", func(s string) bool { return knownStatements[sql.Kind(s)] }}
	groupWords   = &vocabulary{"group of statements, such as Definition", func(s string) bool { return slices.Contains(knownGroups, sql.Group(s)) }}
	featureWords = &vocabulary{"feature, such as AdvisoryLock", func(s string) bool { return knownFeatures[s] }}
	accessWords  = &vocabulary{"access level: ReadOnly, ReadWrite or Full", func(s string) bool { return isAccessLevel(v1alpha1.AccessLevel(s)) }}
	subjectWords = &vocabulary{"kind of subject: ServiceAccount, User or Group", isSubjectKind}
)

var vocabularies = map[string]map[string]*vocabulary{
	typeNode.TypeName():      {"kind": kindWords, "group": groupWords},
	typeStatement.TypeName(): {"kinds": kindWords, "groups": groupWords, "features": featureWords},
	typeSession.TypeName():   {"access": accessWords},
	typeSubject.TypeName():   {"kind": subjectWords},
}

func isSubjectKind(s string) bool {
	switch v1alpha1.SubjectKind(s) {
	case v1alpha1.SubjectServiceAccount, v1alpha1.SubjectUser, v1alpha1.SubjectGroup:
		return true
	}
	return false
}

// checkLiterals finds what compiles and can never work: a comparison of a field with a
// word that it never holds, which would make a rule silently idle; and a regular
// expression that is not a literal, whose cost would be that of its author's choosing.
func checkLiterals(a *ast.AST) error {
	root := ast.NavigateAST(a)
	if len(ast.MatchDescendants(root, ast.KindMatcher(ast.StructKind))) > 0 {
		return errors.New("no objects are made in an expression")
	}
	bound := boundVocabularies(root)
	for _, call := range ast.MatchDescendants(root, ast.KindMatcher(ast.CallKind)) {
		c := call.AsCall()
		args := c.Args()
		switch c.FunctionName() {
		case overloads.Matches:
			if p := args[len(args)-1]; p.Kind() != ast.LiteralKind {
				return errors.New("matches(): the pattern must be a literal")
			}
		case operators.Equals, operators.NotEquals, operators.In:
			for i := range args {
				if err := checkWord(a, bound, args[i], args[1-i]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkWord checks the literals of one side of a comparison against the vocabulary of the
// other.
func checkWord(a *ast.AST, bound map[string]*vocabulary, of, with ast.Expr) error {
	v := vocabularyOf(a, bound, of)
	if v == nil {
		return nil
	}
	words := []ast.Expr{with}
	if with.Kind() == ast.ListKind {
		words = with.AsList().Elements()
	}
	for _, w := range words {
		if w.Kind() != ast.LiteralKind {
			continue
		}
		if s, ok := w.AsLiteral().(types.String); ok && !v.holds(string(s)) {
			return fmt.Errorf("%q is no %s", Printable(string(s), maxShownName), v.what)
		}
	}
	return nil
}

// vocabularyOf returns the vocabulary of a field, or of a variable that runs through one.
func vocabularyOf(a *ast.AST, bound map[string]*vocabulary, e ast.Expr) *vocabulary {
	switch e.Kind() {
	case ast.SelectKind:
		s := e.AsSelect()
		return vocabularies[a.GetType(s.Operand().ID()).TypeName()][s.FieldName()]
	case ast.IdentKind:
		return bound[e.AsIdent()]
	default:
		return nil
	}
}

// boundVocabularies returns those of the variables of exists, all and their kin. A name
// that stands for several things has none.
func boundVocabularies(root ast.NavigableExpr) map[string]*vocabulary {
	bound, twice := map[string]*vocabulary{}, map[string]bool{}
	for _, e := range ast.MatchDescendants(root, ast.KindMatcher(ast.ComprehensionKind)) {
		c := e.AsComprehension()
		var v *vocabulary
		if r := c.IterRange(); r.Kind() == ast.SelectKind && r.AsSelect().Operand().Kind() == ast.IdentKind && r.AsSelect().Operand().AsIdent() == "statement" {
			v = vocabularies[typeStatement.TypeName()][r.AsSelect().FieldName()]
		}
		if _, again := bound[c.IterVar()]; again {
			twice[c.IterVar()] = true
		}
		bound[c.IterVar()] = v
	}
	maps.DeleteFunc(bound, func(name string, _ *vocabulary) bool { return twice[name] })
	return bound
}
