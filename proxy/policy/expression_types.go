package policy

import (
	"errors"
	"fmt"
	"reflect"
	"slices"

	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// The types of what expressions look at. docs/rules.md describes their fields.
var (
	typeStatement = objectType("cardea.Statement")
	typeNode      = objectType("cardea.Node")
	typeRelation  = objectType("cardea.Relation")
	typeFunction  = objectType("cardea.Function")
	typeSession   = objectType("cardea.Session")
	typeTarget    = objectType("cardea.Target")
	typeSubject   = objectType("cardea.Subject")
)

func objectType(name string) *types.Type {
	return types.NewObjectType(name, traits.FieldTesterType, traits.IndexerType)
}

// errUnknown is the value of a field that is not known. It makes an expression fail that
// depends on it, so that a rule which refuses applies and one which allows does not.
var errUnknown = errors.New("the field is not known of this command; has() tells whether it is")

// statementFacts are the facts of one command, with lists that are made at first use.
type statementFacts struct {
	facts                  *sql.Facts
	kinds, groups, objects []string
	listed                 bool
}

func (s *statementFacts) list() {
	if s.listed {
		return
	}
	s.listed = true
	add := func(list []string, v string) []string {
		if v == "" || slices.Contains(list, v) {
			return list
		}
		return append(list, v)
	}
	for _, n := range s.facts.Nodes {
		s.kinds, s.groups, s.objects = add(s.kinds, string(n.Kind)), add(s.groups, string(n.Group)), add(s.objects, n.Object)
	}
}

// sessionFacts is what expressions may know of a session.
type sessionFacts struct {
	grant    *v1alpha1.AccessGrant
	target   *v1alpha1.Target
	database string
	labels   traits.Mapper
}

func newSessionFacts(g *v1alpha1.AccessGrant, t *v1alpha1.Target, database string) *sessionFacts {
	return &sessionFacts{grant: g, target: t, database: database, labels: newOrderedMap(t.Labels)}
}

// orderedMap is a map with an order, so that what an expression makes of it is always the
// same.
type orderedMap struct {
	traits.Mapper
	keys traits.Lister
}

func newOrderedMap(m map[string]string) orderedMap {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return orderedMap{types.NewStringStringMap(adapter{}, m), types.NewStringList(adapter{}, keys)}
}

// Iterator returns the keys in order.
func (m orderedMap) Iterator() traits.Iterator { return m.keys.Iterator() }

// field is one field of an object type. get returns nil for what is not known.
type field struct {
	of  *types.Type
	get func(any) any
}

// fieldOf makes a field of the native type T.
func fieldOf[T any](of *types.Type, get func(T) any) field {
	return field{of, func(v any) any {
		t, ok := v.(T)
		if !ok {
			return nil
		}
		return get(t)
	}}
}

// ifKnown returns nil for a name that is not known, the empty one.
func ifKnown(name string) any {
	if name == "" {
		return nil
	}
	return name
}

var stringList = types.NewListType(types.StringType)

// fields are all fields by type and name.
var fields = map[string]map[string]field{
	typeStatement.TypeName(): {
		"count": fieldOf(types.IntType, func(s *statementFacts) any { return s.facts.Statements }),
		"unfiltered": fieldOf(types.BoolType, func(s *statementFacts) any {
			return slices.ContainsFunc(s.facts.Nodes, func(n sql.Node) bool { return isUnfiltered(&n) })
		}),
		"nodes":      fieldOf(types.NewListType(typeNode), func(s *statementFacts) any { return s.facts.Nodes }),
		"relations":  fieldOf(types.NewListType(typeRelation), func(s *statementFacts) any { return s.facts.Relations }),
		"functions":  fieldOf(types.NewListType(typeFunction), func(s *statementFacts) any { return s.facts.Functions }),
		"attributes": fieldOf(stringList, func(s *statementFacts) any { return s.facts.Attributes }),
		"features":   fieldOf(stringList, func(s *statementFacts) any { return s.facts.Features }),
		"kinds":      fieldOf(stringList, func(s *statementFacts) any { s.list(); return s.kinds }),
		"groups":     fieldOf(stringList, func(s *statementFacts) any { s.list(); return s.groups }),
		"objects":    fieldOf(stringList, func(s *statementFacts) any { s.list(); return s.objects }),
	},
	typeNode.TypeName(): {
		"kind":       fieldOf(types.StringType, func(n sql.Node) any { return string(n.Kind) }),
		"group":      fieldOf(types.StringType, func(n sql.Node) any { return string(n.Group) }),
		"object":     fieldOf(types.StringType, func(n sql.Node) any { return n.Object }),
		"unfiltered": fieldOf(types.BoolType, func(n sql.Node) any { return isUnfiltered(&n) }),
	},
	typeRelation.TypeName(): {
		"schema": fieldOf(types.StringType, func(r sql.Relation) any { return ifKnown(r.Schema) }),
		"name":   fieldOf(types.StringType, func(r sql.Relation) any { return ifKnown(r.Name) }),
		"write":  fieldOf(types.BoolType, func(r sql.Relation) any { return r.Write }),
	},
	typeFunction.TypeName(): {
		"schema": fieldOf(types.StringType, func(f sql.Function) any { return ifKnown(f.Schema) }),
		"name":   fieldOf(types.StringType, func(f sql.Function) any { return ifKnown(f.Name) }),
	},
	typeSession.TypeName(): {
		"namespace":     fieldOf(types.StringType, func(v *evaluation) any { return v.session.grant.Namespace }),
		"grant":         fieldOf(types.StringType, func(v *evaluation) any { return v.session.grant.Name }),
		"access":        fieldOf(types.StringType, func(v *evaluation) any { return string(v.session.grant.Spec.Postgres.Access) }),
		"database":      fieldOf(types.StringType, func(v *evaluation) any { return v.session.database }),
		"inTransaction": fieldOf(types.BoolType, func(v *evaluation) any { return v.inTransaction }),
		"subject":       fieldOf(typeSubject, func(v *evaluation) any { return v.session.grant.Spec.Subject }),
		"target":        fieldOf(typeTarget, func(v *evaluation) any { return v.session }),
	},
	typeTarget.TypeName(): {
		"name":   fieldOf(types.StringType, func(s *sessionFacts) any { return s.target.Name }),
		"labels": fieldOf(types.NewMapType(types.StringType, types.StringType), func(s *sessionFacts) any { return s.labels }),
	},
	typeSubject.TypeName(): {
		"kind":      fieldOf(types.StringType, func(s v1alpha1.Subject) any { return string(s.Kind) }),
		"namespace": fieldOf(types.StringType, func(s v1alpha1.Subject) any { return s.Namespace }),
		"name":      fieldOf(types.StringType, func(s v1alpha1.Subject) any { return s.Name }),
		"username":  fieldOf(types.StringType, func(s v1alpha1.Subject) any { return s.Username() }),
	},
}

// object is one value of an object type.
type object struct {
	of    *types.Type
	value any
}

// ConvertToNative refuses: nothing takes an object out of an expression.
func (o object) ConvertToNative(t reflect.Type) (any, error) {
	return nil, fmt.Errorf("a %s is not a %s", o.of, t)
}

// ConvertToType returns the object's type, and an error for every other conversion.
func (o object) ConvertToType(t ref.Type) ref.Val {
	if t == types.TypeType {
		return o.of
	}
	return types.NewErr("a %s cannot be converted", o.of)
}

// Equal refuses: two relations of a command are told apart by their fields.
func (object) Equal(ref.Val) ref.Val {
	return types.NewErr("objects are not compared; compare their fields")
}

// Type returns the object's type.
func (o object) Type() ref.Type { return o.of }

// Value returns what the fields are read from.
func (o object) Value() any { return o.value }

// adapter turns what fields hold into values.
type adapter struct{}

// NativeToValue implements types.Adapter.
func (a adapter) NativeToValue(v any) ref.Val {
	switch v := v.(type) {
	case sql.Node:
		return object{typeNode, v}
	case sql.Relation:
		return object{typeRelation, v}
	case sql.Function:
		return object{typeFunction, v}
	case v1alpha1.Subject:
		return object{typeSubject, v}
	case *sessionFacts:
		return object{typeTarget, v}
	case []sql.Node:
		return types.NewDynamicList(a, v)
	case []sql.Relation:
		return types.NewDynamicList(a, v)
	case []sql.Function:
		return types.NewDynamicList(a, v)
	}
	return types.DefaultTypeAdapter.NativeToValue(v)
}

// provider declares the object types beside CEL's own.
type provider struct{ *types.Registry }

// FindStructType implements types.Provider.
func (p provider) FindStructType(name string) (*types.Type, bool) {
	if fields[name] == nil {
		return p.Registry.FindStructType(name)
	}
	return types.NewTypeTypeWithParam(types.NewObjectType(name)), true
}

// FindStructFieldNames implements types.Provider.
func (p provider) FindStructFieldNames(name string) ([]string, bool) {
	if fields[name] == nil {
		return p.Registry.FindStructFieldNames(name)
	}
	var names []string
	for n := range fields[name] {
		names = append(names, n)
	}
	slices.Sort(names)
	return names, true
}

// FindStructFieldType implements types.Provider.
func (p provider) FindStructFieldType(name, fieldName string) (*types.FieldType, bool) {
	if fields[name] == nil {
		return p.Registry.FindStructFieldType(name, fieldName)
	}
	f, ok := fields[name][fieldName]
	if !ok {
		return nil, false
	}
	return &types.FieldType{
		Type:  f.of,
		IsSet: func(v any) bool { return f.get(v) != nil },
		GetFrom: func(v any) (any, error) {
			if value := f.get(v); value != nil {
				return value, nil
			}
			return nil, errUnknown
		},
	}, true
}

// NewValue refuses: expressions look at objects and make none.
func (p provider) NewValue(name string, values map[string]ref.Val) ref.Val {
	if fields[name] == nil {
		return p.Registry.NewValue(name, values)
	}
	return types.NewErr("a %s cannot be made", name)
}

// usualSize is how many things a command is taken to use when the cost of an expression is
// estimated; a larger command is held to the limit when it comes.
const usualSize = 32

// sizes bounds what expressions look at, for the estimate of their cost.
type sizes struct{}

// EstimateSize implements cost.Estimator.
func (sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	var most uint64
	switch n.Type().Kind() {
	case types.ListKind, types.MapKind:
		most = usualSize
	case types.StringKind:
		most = 63
		if path := n.Path(); len(path) > 1 && path[0] == "session" {
			most = 316
		}
	default:
		return nil
	}
	if n.ComputedSize() != nil || len(n.Path()) == 0 {
		return nil
	}
	return &cost.SizeEstimate{Min: 0, Max: most}
}

// EstimateCallCost implements cost.Estimator: the standard library's own estimates hold.
func (sizes) EstimateCallCost(string, string, *cost.AstNode, []cost.AstNode) *cost.CallEstimate {
	return nil
}
