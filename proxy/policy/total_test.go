package policy

import (
	"testing"

	"sigs.k8s.io/randfill"

	"github.com/cardea-dev/cardea/proxy/sql"
)

// TestCompileIsTotal compiles random objects of every kind, among them nil ones, and asks
// everything of the result: nothing panics, and nobody is admitted by chance.
func TestCompileIsTotal(t *testing.T) {
	for seed := range int64(400) {
		f := randfill.NewWithSeed(seed).NilChance(0.3).NumElements(0, 3).MaxDepth(20).Funcs(
			func(u *Undecodable, c randfill.Continue) { c.Fill(&u.Kind); c.Fill(&u.Name) },
			func(s *sql.Facts, c randfill.Continue) {
				c.FillNoCustom(&s.Nodes)
				c.Fill(&s.Features)
				c.Fill(&s.Known)
			},
		)
		var in Input
		f.Fill(&in)
		in.Namespace = "gate"
		for i, g := range in.Grants {
			if g != nil && i%2 == 0 {
				g.Namespace = in.Namespace
			}
		}
		for _, tg := range in.Targets {
			if tg != nil {
				tg.Namespace = in.Namespace
			}
		}
		for i, r := range in.CommandRules {
			if r != nil && i%2 == 0 {
				r.Namespace = in.Namespace
			}
		}
		for _, r := range in.MaskingRules {
			if r != nil {
				r.Namespace = in.RootNamespace
			}
		}
		s := Compile(in)
		for _, g := range in.Grants {
			AssessGrant(in, g)
			if g == nil {
				continue
			}
			s.Verifiers(g.Name, noon)
			r := makeRequest()
			r.Grant, r.GrantUID = g.Name, g.UID
			if a, err := s.Admit(r, noon); err == nil {
				t.Errorf("seed %d: admitted %+v", seed, a)
			}
		}
		for _, tg := range in.Targets {
			AssessTarget(in, tg)
		}
		for _, r := range in.CommandRules {
			AssessCommandRule(r)
		}
		for _, r := range in.MaskingRules {
			AssessMaskingRule(r)
		}
		var facts sql.Facts
		f.Fill(&facts)
		rulesOf(t, "Full", nil, makeInput().CommandRules...).Decide(&Command{Engine: "postgres", SQL: &facts})
	}
}
