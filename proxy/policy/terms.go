package policy

import (
	"fmt"
	"slices"
	"time"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Terms are the conditions on which policies admit a grant that it does not state itself.
type Terms struct {
	// Policies that hold for the grant, in order.
	Policies []v1alpha1.RuleReference
	// MaxSessions is how many of the grant's sessions one replica may have open; 0 is no limit.
	MaxSessions int
	// IdleTimeout ends a session in which nothing was sent for so long; 0 is no limit.
	IdleTimeout time.Duration
	// Needs are who has to approve: each must be met. AskedBy are the policies that want them.
	Needs   []v1alpha1.ApprovalNeed
	AskedBy []v1alpha1.RuleReference
	// Timeout is how long approvers are asked.
	Timeout time.Duration
}

// Violation is one reason why policies do not admit a grant.
type Violation struct {
	// Policy that is violated; the first that selects the Target where none names the subject.
	Policy v1alpha1.RuleReference
	// Message is a sentence that names the policy, the field and what to do.
	Message string
}

// JudgeGrant returns on which terms the AccessPolicies admit a grant to a Target, or why
// they do not. A policy that does not compile admits nothing. It judges neither the time nor
// whether the grant fits its Target.
func JudgeGrant(in Input, g *v1alpha1.AccessGrant, t *v1alpha1.Target) (Terms, []Violation) {
	all, unknown := accessPolicies(in)
	if unknown != nil {
		return Terms{}, []Violation{{Policy: v1alpha1.RuleReference{Kind: kindAccessPolicy}, Message: unknown.Error() + ", and so admits no grant; correct or delete it"}}
	}
	if g == nil || t == nil {
		return Terms{}, []Violation{{Policy: v1alpha1.RuleReference{Kind: kindAccessPolicy}, Message: "there is no grant, or no Target"}}
	}
	return judge(selecting(all, t), g, t)
}

// selecting returns the policies that select a Target.
func selecting(all []*accessPolicy, t *v1alpha1.Target) []*accessPolicy {
	var out []*accessPolicy
	for _, p := range all {
		if p.selects(t) {
			out = append(out, p)
		}
	}
	return out
}

// judge judges a grant by the policies that select its Target.
func judge(policies []*accessPolicy, g *v1alpha1.AccessGrant, t *v1alpha1.Target) (Terms, []Violation) {
	var terms Terms
	var violations []Violation
	for _, p := range policies {
		if p.err != nil {
			violations = append(violations, violationf(p, "does not compile and admits no grant: %s; have it corrected", Printable(p.err.Error(), maxShownText)))
		}
	}
	if len(policies) == 0 || len(violations) > 0 {
		return terms, violations
	}
	if v := unnamed(policies, g.Spec.Subject); v != nil {
		return terms, []Violation{*v}
	}
	for _, p := range policies {
		if len(p.spec.Subjects) > 0 && !p.names(g.Spec.Subject) {
			continue
		}
		terms.tighten(p)
		terms.ask(p)
		c := check{policy: p}
		c.limits(g, t)
		c.requirements(g, t)
		violations = append(violations, c.violations...)
	}
	if v := terms.checkNeeds(); v != nil {
		violations = append(violations, *v)
	}
	return terms, violations
}

// unnamed says which policy would have to name the subject, if one has to: any that
// selects the Target, and one of the root namespace where one of those has subjects.
func unnamed(policies []*accessPolicy, s v1alpha1.Subject) *Violation {
	named := func(p *accessPolicy) bool { return p.names(s) }
	if i := slices.IndexFunc(policies, func(p *accessPolicy) bool { return p.root && len(p.spec.Subjects) > 0 }); i >= 0 {
		if !slices.ContainsFunc(policies, func(p *accessPolicy) bool { return p.root && named(p) }) {
			v := violationf(policies[i], "does not name %s %s among its subjects, and no other policy of the root namespace does: ask a platform engineer", s.Kind, subjectName(s))
			return &v
		}
	}
	if !slices.ContainsFunc(policies, named) {
		v := violationf(policies[0], "selects the Target, and no AccessPolicy names %s %s among its subjects: ask the owner of the policy", s.Kind, subjectName(s))
		return &v
	}
	return nil
}

func subjectName(s v1alpha1.Subject) string {
	if s.Namespace == "" {
		return shownName(s.Name)
	}
	return shownName(s.Namespace) + "/" + shownName(s.Name)
}

// tighten takes the limits of a policy that are not the grant's to state.
func (t *Terms) tighten(p *accessPolicy) {
	t.Policies = append(t.Policies, p.ref)
	l := p.spec.Limits
	if l == nil {
		return
	}
	if n := l.MaxSessions; n != nil && (t.MaxSessions == 0 || int(*n) < t.MaxSessions) {
		t.MaxSessions = int(*n)
	}
	if d := l.IdleTimeout; d != nil {
		t.IdleTimeout = shorter(t.IdleTimeout, d.Duration)
	}
}

// shorter returns the shorter of two limits, of which 0 is none.
func shorter(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func violationf(p *accessPolicy, format string, args ...any) Violation {
	return Violation{Policy: p.ref, Message: fmt.Sprintf("AccessPolicy %s/%s ", shownName(p.ref.Namespace), shownName(p.ref.Name)) + fmt.Sprintf(format, args...)}
}

// check collects what of a grant one policy refuses.
type check struct {
	policy     *accessPolicy
	violations []Violation
}

func (c *check) refuse(format string, args ...any) {
	c.violations = append(c.violations, violationf(c.policy, format, args...))
}

func (c *check) limits(g *v1alpha1.AccessGrant, t *v1alpha1.Target) {
	l := c.policy.spec.Limits
	if l == nil {
		return
	}
	c.times(l, g)
	if t.Spec.Postgres != nil && g.Spec.Postgres != nil {
		c.postgres(l.Postgres, g.Spec.Postgres)
	}
	if t.Spec.Kubernetes != nil && g.Spec.Kubernetes != nil {
		c.kubernetes(l.Kubernetes, g.Spec.Kubernetes)
	}
	if t.Spec.SSH != nil && g.Spec.SSH != nil {
		c.ssh(l.SSH, g.Spec.SSH)
	}
}

// times holds a grant to how long it may last and when it may start. Both are measured from
// its creation, so that the answer does not change with the clock.
func (c *check) times(l *v1alpha1.GrantLimits, g *v1alpha1.AccessGrant) {
	created, starts := g.CreationTimestamp.Time, g.CreationTimestamp.Time
	if s := g.Spec.StartsAt; s != nil && s.After(created) {
		starts = s.Time
	}
	if m := l.MaxDuration; m != nil {
		switch {
		case g.Spec.Duration != nil:
			if d := g.Spec.Duration.Duration; d > m.Duration {
				c.refuse("permits at most %s, and spec.duration is %s: ask for a shorter grant", short(m.Duration), short(d))
			}
		case g.Spec.ExpiresAt == nil || starts.IsZero():
			c.refuse("permits at most %s, and the end of the grant is not known", short(m.Duration))
		case g.Spec.ExpiresAt.Sub(starts) > m.Duration:
			c.refuse("permits at most %s, and the grant would last %s until spec.expiresAt: ask for a shorter grant", short(m.Duration), short(g.Spec.ExpiresAt.Sub(starts)))
		}
	}
	if w := l.StartWithin; w != nil && g.Spec.StartsAt != nil && (created.IsZero() || starts.Sub(created) > w.Duration) {
		c.refuse("permits a start at most %s ahead, and spec.startsAt is later: ask again nearer to the time", short(w.Duration))
	}
}

func (c *check) postgres(l *v1alpha1.PostgresLimits, p *v1alpha1.PostgresPermissions) {
	if l == nil {
		return
	}
	if exceeds(accessLevels, p.Access, l.Access) {
		c.refuse("permits access %s at most, and spec.postgres.access is %s: ask for less", l.Access, p.Access)
	}
	c.names("spec.postgres.databases", l.Databases, p.Databases)
}

func (c *check) kubernetes(l *v1alpha1.KubernetesLimits, p *v1alpha1.KubernetesPermissions) {
	if l == nil {
		return
	}
	c.names("spec.kubernetes.namespaces", l.Namespaces, p.Namespaces)
	if exceeds(secretsModes, p.Secrets, l.Secrets) {
		c.refuse("permits secrets %s at most, and spec.kubernetes.secrets is %s: ask for less", l.Secrets, p.Secrets)
	}
	if exceeds(execModes, p.Exec, l.Exec) {
		c.refuse("permits exec %s at most, and spec.kubernetes.exec is %s: ask for less", l.Exec, p.Exec)
	}
}

func (c *check) ssh(l *v1alpha1.SSHLimits, p *v1alpha1.SSHPermissions) {
	if l == nil {
		return
	}
	c.names("spec.ssh.logins", l.Logins, p.Logins)
	for _, channel := range p.Channels {
		if len(l.Channels) > 0 && !slices.Contains(l.Channels, channel) {
			c.refuse("does not permit channel %s of spec.ssh.channels: leave it out", channel)
		}
	}
	// A terminal is what a shell has; without one the field has no meaning.
	if slices.Contains(p.Channels, v1alpha1.SSHShell) && exceeds(terminals, p.Terminal, l.Terminal) {
		c.refuse("permits terminal %s at most, and spec.ssh.terminal is %s: ask for less", l.Terminal, p.Terminal)
	}
}

// names refuses each name of a grant that no pattern of a limit covers.
func (c *check) names(field string, patterns, names []string) {
	if len(patterns) == 0 {
		return
	}
	for _, n := range names {
		if !anyGlob(patterns, n) {
			c.refuse("does not permit %q of %s: leave it out", Printable(n, maxShownName), field)
		}
	}
}

func (c *check) requirements(g *v1alpha1.AccessGrant, t *v1alpha1.Target) {
	r := c.policy.spec.Requires
	if r == nil {
		return
	}
	if len(r.RecordingStores) > 0 {
		if rec := t.Spec.Recording; rec == nil || !slices.Contains(r.RecordingStores, rec.StoreRef.Name) {
			c.refuse("requires that Target %s is recorded in one of %q: ask the owner of the Target to set its spec.recording.storeRef", shownName(t.Name), r.RecordingStores)
		}
	}
	if len(r.Deliveries) > 0 && !slices.Contains(r.Deliveries, g.Spec.Credentials.Delivery) {
		c.refuse("requires delivery by one of %q, and spec.credentials.delivery is %s", r.Deliveries, g.Spec.Credentials.Delivery)
	}
	if c.policy.reason != nil && !c.policy.reason.MatchString(g.Spec.Reason) {
		c.refuse("requires a reason that contains %q: say why in spec.reason", r.ReasonPattern)
	}
}

// short writes a duration without the units that are zero at its end.
func short(d time.Duration) string {
	s := d.String()
	for _, tail := range []string{"m0s", "h0m"} {
		if len(s) > len(tail) && s[len(s)-len(tail):] == tail {
			s = s[:len(s)-len(tail)+1]
		}
	}
	return s
}
