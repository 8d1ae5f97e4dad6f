package webhooks

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// wrong is a selector that the schema lets through.
var wrong = metav1.LabelSelector{MatchLabels: map[string]string{"not a key": "x"}}

func TestValidateRules(t *testing.T) {
	command := func(change func(*v1alpha1.CommandRuleSpec)) field.ErrorList {
		r := &v1alpha1.CommandRule{Spec: v1alpha1.CommandRuleSpec{
			Match:  []v1alpha1.CommandMatch{{SQL: &v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"Drop"}}}},
			Action: v1alpha1.ActionDeny,
		}}
		change(&r.Spec)
		return ValidateCommandRule(r)
	}
	masking := func(change func(*v1alpha1.MaskingRuleSpec)) field.ErrorList {
		r := &v1alpha1.MaskingRule{Spec: v1alpha1.MaskingRuleSpec{
			Columns: []v1alpha1.MaskedColumns{{Names: []string{"*.*.ssn"}, Function: v1alpha1.MaskFunction{Null: &v1alpha1.NullFunction{}}}},
		}}
		change(&r.Spec)
		return ValidateMaskingRule(r)
	}
	cases := map[string]struct {
		got  field.ErrorList
		want string
	}{
		"good commands":      {command(func(*v1alpha1.CommandRuleSpec) {}), ""},
		"good masks":         {masking(func(*v1alpha1.MaskingRuleSpec) {}), ""},
		"commands' selector": {command(func(s *v1alpha1.CommandRuleSpec) { s.TargetSelector = wrong }), "spec.targetSelector.matchLabels"},
		"masks' selector":    {masking(func(s *v1alpha1.MaskingRuleSpec) { s.TargetSelector = wrong }), "spec.targetSelector.matchLabels"},
		"function's schema":  {command(func(s *v1alpha1.CommandRuleSpec) { s.Match[0].SQL.Functions = []string{"public.dblink"} }), "is not a name without schema"},
		"expression":         {command(func(s *v1alpha1.CommandRuleSpec) { s.Match[0].SQL.Expression = "statement.kindz == []" }), "undefined field 'kindz'"},
		"no action":          {command(func(s *v1alpha1.CommandRuleSpec) { s.Action = "" }), "spec.action"},
		"a short name":       {masking(func(s *v1alpha1.MaskingRuleSpec) { s.Columns[0].Names = []string{"ssn"} }), "is not SCHEMA.TABLE.COLUMN"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			err := c.got.ToAggregate()
			switch {
			case c.want == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
				t.Errorf("error %v, want one that says %q", err, c.want)
			}
		})
	}
}
