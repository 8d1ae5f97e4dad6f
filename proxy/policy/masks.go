package policy

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/masking"
	"github.com/cardea-dev/cardea/proxy/masking/detect"
	"github.com/cardea-dev/cardea/proxy/masking/fn"
	"github.com/cardea-dev/cardea/proxy/sql"
)

// Bounds of a MaskingRule's lists, the same as in the API's schema.
const (
	maxColumns = 64
	maxNames   = 64
	maxExempt  = 32
	maxPinned  = 64
)

// mask is one column pattern of a MaskingRule with its function.
type mask struct {
	name                  sql.ColumnName
	schema, table, column glob
	function              masking.Func
	rule                  *maskingRule
}

// maskingRule is one compiled MaskingRule.
type maskingRule struct {
	source
	masks     []mask
	uses      sql.Uses
	functions []sql.PinnedFunction
	detectors *detect.Set // nil for none
	fields    []maskedFields
	exempt    []v1alpha1.Subject
}

func compileMaskingRule(r *v1alpha1.MaskingRule, root bool, o fn.Options) (*maskingRule, error) {
	c := &maskingRule{
		source: source{root, v1alpha1.RuleReference{Kind: string(v1alpha1.RuleKindMasking), Namespace: r.Namespace, Name: r.Name}},
		exempt: r.Spec.Exempt,
	}
	if err := checkMaskingRule(&r.Spec); err != nil {
		return nil, err
	}
	var err error
	if c.detectors, err = detect.New(r.Spec.Detectors); err != nil {
		return nil, fmt.Errorf("spec.detectors: %w", err)
	}
	if c.uses, err = usesOf(&r.Spec); err != nil {
		return nil, err
	}
	if c.fields, err = compileFields(r.Spec.Fields); err != nil {
		return nil, fmt.Errorf("spec.fields%w", err)
	}
	if c.functions, err = compilePinned(r.Spec.Functions); err != nil {
		return nil, fmt.Errorf("spec.functions%w", err)
	}
	if len(c.functions) > 0 && len(r.Spec.Columns) == 0 {
		return nil, errors.New("spec.functions: functions need columns")
	}
	for i, col := range r.Spec.Columns {
		function, err := fn.New(col.Function, o)
		if err != nil {
			return nil, fmt.Errorf("spec.columns[%d].function: %w", i, err)
		}
		if n := len(col.Names); n == 0 || n > maxNames {
			return nil, fmt.Errorf("spec.columns[%d].names: must have 1 to %d items", i, maxNames)
		}
		for _, name := range col.Names {
			p := strings.Split(name, ".")
			if len(p) != 3 || slices.Contains(p, "") {
				return nil, fmt.Errorf("spec.columns[%d].names: %q is not SCHEMA.TABLE.COLUMN, each part a name or glob", i, name)
			}
			c.masks = append(c.masks, mask{sql.ColumnName{Schema: p[0], Table: p[1], Column: p[2]}, newGlob(p[0], true), newGlob(p[1], true), newGlob(p[2], true), function, c})
		}
	}
	return c, nil
}

// checkMaskingRule checks what a rule says but for its functions and patterns.
func checkMaskingRule(r *v1alpha1.MaskingRuleSpec) error {
	switch {
	case len(r.Columns) == 0 && len(r.Detectors) == 0 && len(r.Fields) == 0:
		return errors.New("spec.columns: at least one of columns, detectors and fields must be set")
	case len(r.Columns) > maxColumns:
		return fmt.Errorf("spec.columns: must have at most %d items", maxColumns)
	case len(r.Exempt) > maxExempt:
		return fmt.Errorf("spec.exempt: must have at most %d items", maxExempt)
	}
	for i, s := range r.Exempt {
		if err := checkSubject(s); err != nil {
			return fmt.Errorf("spec.exempt[%d]: %w", i, err)
		}
	}
	return nil
}

// usesOf returns the uses of masked columns that a rule lets through.
func usesOf(s *v1alpha1.MaskingRuleSpec) (u sql.Uses, err error) {
	switch s.Predicates {
	case v1alpha1.PredicatesDeny, "":
	case v1alpha1.PredicatesEquality:
		u.Equality = true
	default:
		return u, fmt.Errorf("spec.predicates: %q is not Deny or Equality", s.Predicates)
	}
	switch s.Expressions {
	case v1alpha1.ExpressionsDeny, "":
	case v1alpha1.ExpressionsMaskOutput:
		u.MaskedExpressions = true
	default:
		return u, fmt.Errorf("spec.expressions: %q is not Deny or MaskOutput", s.Expressions)
	}
	return u, nil
}

// lifted returns the rules that subject is exempt from.
func lifted(rules []*maskingRule, subject v1alpha1.Subject) map[*maskingRule]bool {
	lift := map[*maskingRule]bool{}
	for _, r := range rules {
		for _, s := range r.exempt {
			if covers(s, subject) {
				lift[r] = true
			}
		}
	}
	return lift
}

// masks are the masks of a Target in the order in which they are asked. A MaskRef is an
// index into all, counted from 1, so that it means the same for every session.
type masks struct {
	rules     []*maskingRule
	all       []mask
	names     []sql.ColumnName // of the rules that are left
	functions []sql.PinnedFunction
	lift      map[*maskingRule]bool // rules that this session is exempt from; nil for none
	none      bool                  // no mask is left
	detectors *detect.Set           // of the rules that are left; nil for none
}

func newMasks(rules []*maskingRule, lift map[*maskingRule]bool) *masks {
	m := &masks{rules: rules, lift: lift, none: true}
	for _, r := range rules {
		m.all = append(m.all, r.masks...)
		if !lift[r] {
			m.none = m.none && len(r.masks) == 0
			for i := range r.masks {
				m.names = append(m.names, r.masks[i].name)
			}
			m.detectors = detect.Join(m.detectors, r.detectors)
		}
	}
	m.functions = pinned(rules, lift)
	return m
}

// Empty reports whether no column is masked at all.
func (m *masks) Empty() bool { return m.none }

// Mask returns the first mask of a column. A part of the name that is not known, the
// empty string, matches every pattern.
func (m *masks) Mask(schema, table, column string) sql.MaskRef {
	for i := range m.all {
		k := &m.all[i]
		if k.column.matchOrUnknown(column) && k.table.matchOrUnknown(table) && k.schema.matchOrUnknown(schema) && !m.lift[k.rule] {
			return sql.MaskRef(i + 1)
		}
	}
	return 0
}

// Uses returns what a column with this mask may be used for besides plain output.
func (m *masks) Uses(ref sql.MaskRef) sql.Uses {
	if ref == 0 || uint64(ref) > uint64(len(m.all)) {
		return sql.Uses{}
	}
	u := m.all[ref-1].rule.uses
	u.Nulls = fn.ShowsNull(m.all[ref-1].function)
	return u
}

// Names returns the patterns by which columns are masked; they are not to be changed.
func (m *masks) Names() []sql.ColumnName { return m.names }

// Functions are those of users that may be called; they are not to be changed.
func (m *masks) Functions() []sql.PinnedFunction { return m.functions }

// Func returns the function of a mask and the rule that it is from.
func (m *masks) Func(ref sql.MaskRef) (masking.Func, v1alpha1.RuleReference) {
	at := ref &^ sql.WholeValue
	if at == sql.Hidden {
		return fn.Hidden, v1alpha1.RuleReference{}
	}
	if at == 0 || uint64(at) > uint64(len(m.all)) {
		return withhold{}, v1alpha1.RuleReference{}
	}
	k := &m.all[at-1]
	if at != ref {
		return fn.Whole, k.rule.ref
	}
	return k.function, k.rule.ref
}

// behind returns the rule that masks a column given as SCHEMA.TABLE.COLUMN; its zero value
// if that is not to be told from the name.
func (m *masks) behind(column string) v1alpha1.RuleReference {
	p := strings.Split(column, ".")
	if len(p) != 3 {
		return v1alpha1.RuleReference{}
	}
	_, rule := m.Func(m.Mask(p[0], p[1], p[2]))
	return rule
}

// errWithheld withholds a row whose mask is not known.
var errWithheld = errors.New("the mask of a column is not known")

// withhold shows nothing.
type withhold struct{}

// Mask returns an error for every value.
func (withhold) Mask(dst, _ []byte) ([]byte, bool, error) { return dst, true, errWithheld }
