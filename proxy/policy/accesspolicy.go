package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// kindAccessPolicy is the kind of a policy in references.
const kindAccessPolicy = "AccessPolicy"

// Bounds of an AccessPolicy, the same as in the API's schema. They are held here too: what
// is judged with may come from elsewhere than the API server.
const (
	maxSubjects      = 64
	maxReasonPattern = 256
	maxSessionsLimit = 1000
)

// accessPolicy is one compiled AccessPolicy, or why it does not compile.
type accessPolicy struct {
	source
	selector labels.Selector // nil: not known, so that it selects every Target
	err      error
	spec     v1alpha1.AccessPolicySpec
	reason   *regexp.Regexp // nil for none
}

// accessPolicies compiles the policies that govern a gate, in order. An error is of a policy
// that is not known at all, and so governs every Target.
func accessPolicies(in Input) ([]*accessPolicy, error) {
	all := make([]*accessPolicy, 0, len(in.AccessPolicies))
	var unknown error
	for _, p := range in.AccessPolicies {
		if p == nil {
			unknown = errors.New("an AccessPolicy could not be read")
			continue
		}
		if root, ours := in.governs(p.Namespace); ours {
			all = append(all, compileAccessPolicy(p, root))
		}
	}
	for _, u := range in.Undecodable {
		if u.Kind == kindAccessPolicy {
			unknown = fmt.Errorf("AccessPolicy %s in namespace %s has a field or value that this version does not know", shownName(u.Name), shownName(u.Namespace))
		}
	}
	slices.SortStableFunc(all, func(a, b *accessPolicy) int { return compareSources(a.source, b.source) })
	return all, unknown
}

func compileAccessPolicy(p *v1alpha1.AccessPolicy, root bool) *accessPolicy {
	c := &accessPolicy{source: source{root, v1alpha1.RuleReference{Kind: kindAccessPolicy, Namespace: p.Namespace, Name: p.Name}}, spec: p.Spec}
	selector, err := selectorOf(&p.Spec.TargetSelector)
	if err != nil {
		c.err = fmt.Errorf("spec.targetSelector: %w", err)
	} else {
		c.selector = selector
	}
	c.err = errors.Join(c.err, checkSubjectPatterns(p.Spec.Subjects), checkGrantLimits(p.Spec.Limits), checkApprovals(p.Spec.Approvals))
	if len(p.Spec.Subjects) == 0 && p.Spec.Limits == nil && p.Spec.Requires == nil && p.Spec.Approvals == nil {
		c.err = errors.Join(c.err, errors.New("spec: at least one of subjects, limits, requires and approvals must be set"))
	}
	if r := p.Spec.Requires; r != nil {
		c.reason, err = compileReason(r.ReasonPattern)
		c.err = errors.Join(c.err, err, checkRequirements(r))
	}
	return c
}

func (p *accessPolicy) selects(t *v1alpha1.Target) bool {
	return p.selector == nil || p.selector.Matches(labels.Set(t.Labels))
}

// names reports whether the policy's subjects name the one of a grant.
func (p *accessPolicy) names(s v1alpha1.Subject) bool {
	return slices.ContainsFunc(p.spec.Subjects, func(pattern v1alpha1.SubjectPattern) bool {
		if pattern.Kind != s.Kind || !anyGlob(pattern.Names, s.Name) {
			return false
		}
		return s.Kind != v1alpha1.SubjectServiceAccount || anyGlob(pattern.Namespaces, s.Namespace)
	})
}

// anyGlob reports whether one of the patterns matches all of what name does, which may be a
// glob itself: a "*" of it is matched by one of the pattern's alone, which matches whatever
// it stands for too.
func anyGlob(patterns []string, name string) bool {
	return name != "" && slices.ContainsFunc(patterns, func(p string) bool { return newGlob(p, false).match(name) })
}

func compileReason(pattern string) (*regexp.Regexp, error) {
	if pattern == "" {
		return nil, nil
	}
	if len(pattern) > maxReasonPattern {
		return nil, fmt.Errorf("spec.requires.reasonPattern: must be at most %d bytes", maxReasonPattern)
	}
	r, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("spec.requires.reasonPattern: %w", err)
	}
	return r, nil
}

func checkSubjectPatterns(all []v1alpha1.SubjectPattern) error {
	if len(all) > maxSubjects {
		return fmt.Errorf("spec.subjects: must have at most %d items", maxSubjects)
	}
	for i, s := range all {
		switch s.Kind {
		case v1alpha1.SubjectServiceAccount, v1alpha1.SubjectUser, v1alpha1.SubjectGroup:
		default:
			return fmt.Errorf("spec.subjects[%d].kind: %q is not ServiceAccount, User or Group", i, Printable(string(s.Kind), maxShownName))
		}
		if len(s.Names) == 0 || slices.Contains(s.Names, "") {
			return fmt.Errorf("spec.subjects[%d].names: must be set", i)
		}
		if (s.Kind == v1alpha1.SubjectServiceAccount) != (len(s.Namespaces) > 0) || slices.Contains(s.Namespaces, "") {
			return fmt.Errorf("spec.subjects[%d].namespaces: must be set for a ServiceAccount, and not otherwise", i)
		}
	}
	return nil
}

func checkRequirements(r *v1alpha1.GrantRequirements) error {
	for _, d := range r.Deliveries {
		if !isDelivery(d) {
			return fmt.Errorf("spec.requires.deliveries: %q is no way of delivery", Printable(string(d), maxShownName))
		}
	}
	return nil
}

// checkGrantLimits checks that every limit is one: what is no limit would limit nothing.
func checkGrantLimits(l *v1alpha1.GrantLimits) error {
	if l == nil {
		return nil
	}
	for _, d := range []struct {
		field       string
		value       *metav1.Duration
		least, most time.Duration
	}{
		{"maxDuration", l.MaxDuration, time.Minute, maxDuration},
		{"startWithin", l.StartWithin, 0, maxDuration},
		{"idleTimeout", l.IdleTimeout, minIdle, maxLimit},
	} {
		if d.value != nil && (d.value.Duration < d.least || d.value.Duration > d.most) {
			return fmt.Errorf("spec.limits.%s: must be between %s and %s", d.field, d.least, d.most)
		}
	}
	if n := l.MaxSessions; n != nil && (*n < 1 || *n > maxSessionsLimit) {
		return fmt.Errorf("spec.limits.maxSessions: must be between 1 and %d", maxSessionsLimit)
	}
	if p := l.Postgres; p != nil && p.Access != "" && rankOf(accessLevels, p.Access) < 0 {
		return fmt.Errorf("spec.limits.postgres.access: %q is not ReadOnly, ReadWrite or Full", Printable(string(p.Access), maxShownName))
	}
	if k := l.Kubernetes; k != nil {
		if k.Secrets != "" && rankOf(secretsModes, k.Secrets) < 0 {
			return fmt.Errorf("spec.limits.kubernetes.secrets: %q is not Denied, Masked or Readable", Printable(string(k.Secrets), maxShownName))
		}
		if k.Exec != "" && rankOf(execModes, k.Exec) < 0 {
			return fmt.Errorf("spec.limits.kubernetes.exec: %q is not Denied, Commands, Gated or Raw", Printable(string(k.Exec), maxShownName))
		}
	}
	if s := l.SSH; s != nil && s.Terminal != "" && rankOf(terminals, s.Terminal) < 0 {
		return fmt.Errorf("spec.limits.ssh.terminal: %q is not Gated or Raw", Printable(string(s.Terminal), maxShownName))
	}
	return nil
}

// Levels in order, each permitting more than the one before.
var (
	accessLevels = []v1alpha1.AccessLevel{v1alpha1.AccessReadOnly, v1alpha1.AccessReadWrite, v1alpha1.AccessFull}
	secretsModes = []v1alpha1.SecretsMode{v1alpha1.SecretsDenied, v1alpha1.SecretsMasked, v1alpha1.SecretsReadable}
	execModes    = []v1alpha1.ExecMode{v1alpha1.ExecDenied, v1alpha1.ExecCommands, v1alpha1.ExecGated, v1alpha1.ExecRaw}
	terminals    = []v1alpha1.SSHTerminal{v1alpha1.SSHGated, v1alpha1.SSHRaw}
)

func rankOf[T comparable](levels []T, level T) int { return slices.Index(levels, level) }

// exceeds reports whether level permits more than limit; an unknown one does. No limit
// limits nothing.
func exceeds[T ~string](levels []T, level, limit T) bool {
	if limit == "" {
		return false
	}
	n := rankOf(levels, level)
	return n < 0 || n > rankOf(levels, limit)
}
