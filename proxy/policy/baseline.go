package policy

import (
	"slices"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/sql"
	"github.com/cardea-dev/cardea/proxy/sshapi"
)

// KindBaseline is the kind of a RuleReference to a rule that ships with the product.
const KindBaseline = "Baseline"

// BaselineRule is a rule that ships with the product and denies on every Target that does
// not disable it by name.
type BaselineRule struct {
	Name string
	// Denies says what is refused, Attack what that stops; docs/baseline.md holds both.
	Denies string
	Attack string

	features []string
	// nodes matches one statement of a command; nil matches none.
	nodes func(n *sql.Node) bool
	// request matches one request to a Kubernetes API server; nil matches none.
	request func(f *kubeapi.Facts) bool
	// ssh matches one request to an SSH server; nil matches none.
	ssh func(f *sshapi.Facts) bool
	// liftable says that an Allow rule which names every function of a command admits it.
	liftable bool
}

// Reference returns the rule's name for decisions and recordings.
func (r *BaselineRule) Reference() v1alpha1.RuleReference {
	return v1alpha1.RuleReference{Kind: KindBaseline, Name: r.Name}
}

func (r *BaselineRule) matches(f *sql.Facts) bool {
	for _, feature := range f.Features {
		if slices.Contains(r.features, feature) {
			return true
		}
	}
	if r.nodes == nil {
		return false
	}
	for i := range f.Nodes {
		if r.nodes(&f.Nodes[i]) {
			return true
		}
	}
	return false
}

// harmless are the features that no baseline rule denies. A feature that is neither here
// nor in a rule is unknown, and unknown is denied.
var harmless = []string{sql.FeatureAdvisoryLock}

// BaselineRules returns the shipped rules in the order in which they are asked.
func BaselineRules() []BaselineRule { return slices.Clone(baselineRules) }

// knownFeatures are all features that a decision can take into account.
var knownFeatures = func() map[string]bool {
	known := make(map[string]bool)
	for _, f := range harmless {
		known[f] = true
	}
	for i := range baselineRules {
		for _, f := range baselineRules[i].features {
			known[f] = true
		}
	}
	return known
}()

// enabled returns the baseline rules that are on for a Target, and the first name in
// disable that is none.
func enabled(b *v1alpha1.Baseline) (on []*BaselineRule, wrong string) {
	var disable []string
	if b != nil {
		disable = b.Disable
	}
	for _, name := range disable {
		if !slices.ContainsFunc(baselineRules, func(r BaselineRule) bool { return r.Name == name }) {
			return nil, name
		}
	}
	for i := range baselineRules {
		if !slices.Contains(disable, baselineRules[i].Name) {
			on = append(on, &baselineRules[i])
		}
	}
	return on, ""
}

// BaselineFor returns the name of the shipped rule that denies a feature; empty for one
// that none denies.
func BaselineFor(feature string) string {
	for i := range baselineRules {
		if slices.Contains(baselineRules[i].features, feature) {
			return baselineRules[i].Name
		}
	}
	return ""
}
