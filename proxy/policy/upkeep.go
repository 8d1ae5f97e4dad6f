package policy

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Upkeep is a Target in which the gate makes roles for sessions, and has to clear up after
// them.
type Upkeep struct {
	Target *v1alpha1.Target
	// Databases are those that grants to it name, without globs.
	Databases []string
}

// Upkeep returns the Targets in which roles are made for sessions, shut ones too: what was
// made while they were open is dropped nonetheless.
func (s *Snapshot) Upkeep() []Upkeep {
	var all []Upkeep
	for _, t := range s.targets {
		p := t.object.Spec.Postgres
		if p == nil || p.EphemeralRole == nil {
			continue
		}
		databases := map[string]bool{}
		for _, g := range s.grants {
			if g.Spec.TargetRef.Name != t.object.Name || g.Spec.Postgres == nil {
				continue
			}
			for _, d := range g.Spec.Postgres.Databases {
				if !strings.Contains(d, "*") {
					databases[d] = true
				}
			}
		}
		all = append(all, Upkeep{Target: t.object, Databases: slices.Sorted(maps.Keys(databases))})
	}
	slices.SortFunc(all, func(a, b Upkeep) int { return cmp.Compare(a.Target.Name, b.Target.Name) })
	return all
}
