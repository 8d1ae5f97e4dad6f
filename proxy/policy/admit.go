package policy

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// Admit returns what a session may do that asks for r at now, or a *Refusal. Calling it
// again on a newer snapshot with the same request tells whether the session may live on.
func (s *Snapshot) Admit(r Request, now time.Time) (*Admission, error) {
	if !s.compiled {
		return nil, &Refusal{Code: CodeStale, Message: "the policy is not known yet", Hint: "try again in a moment"}
	}
	g := s.grants[r.Grant]
	if refusal := s.known(r, g); refusal != nil {
		return nil, refusal
	}
	t := s.targets[g.Spec.TargetRef.Name]
	if refusal := s.locked(g, t); refusal != nil {
		return nil, refusal
	}
	expires, refusal := open(g, now)
	if refusal != nil {
		return nil, because(refusal, g, t)
	}
	credential, refusal := credentialOf(g, r, now)
	if refusal != nil {
		return nil, refusal
	}
	if refusal := permitted(g, t, r); refusal != nil {
		return nil, refusal
	}
	terms, refusal := admitted(g, t)
	if refusal != nil {
		return nil, refusal
	}
	masks := t.masksFor(g, r)
	version, err := versionOf(t, g, masks)
	if err != nil {
		return nil, inactive(g, "cannot be read", "ask an administrator")
	}
	return &Admission{
		Version:     version,
		Request:     r,
		Grant:       g,
		Target:      t.object,
		Store:       t.store,
		ExpiresAt:   earliest(expires, credential),
		MaxSessions: terms.MaxSessions,
		IdleTimeout: shorter(t.idleTimeout(), terms.IdleTimeout),
		Rules:       rulesFor(t, g, r, masks),
		Masks:       masks,
		Detectors:   masks.detectors,
		Fields:      fieldsFor(t, g, masks),
	}, nil
}

// rulesFor returns what decides on the commands of a session that is permitted.
func rulesFor(t *target, g *v1alpha1.AccessGrant, r Request, m *masks) Rules {
	grant := v1alpha1.RuleReference{Kind: "AccessGrant", Namespace: g.Namespace, Name: g.Name}
	if t.engine == engineKubernetes {
		return &requestRules{rules: t.rules, grant: grant, spec: g.Spec.Kubernetes}
	}
	if t.engine == engineSSH {
		return &sshRules{rules: t.rules, grant: grant, spec: g.Spec.SSH, target: t.object.Spec.SSH, detects: m.detectors != nil}
	}
	return &sessionRules{engine: t.engine, rules: t.rules, masks: m, level: g.Spec.Postgres.Access, session: newSessionFacts(g, t.object, r.Database), grant: grant}
}

func refuse(code Code, g *v1alpha1.AccessGrant, what, hint string) *Refusal {
	name := shownName(g.Name)
	return &Refusal{Code: code, Rule: "AccessGrant/" + shownName(g.Namespace) + "/" + name,
		Message: fmt.Sprintf("AccessGrant %s %s", name, what), Hint: hint}
}

func inactive(g *v1alpha1.AccessGrant, what, hint string) *Refusal {
	return refuse(CodeGrantInactive, g, what, hint)
}

// known checks that the grant which the credential names is there, is the same one, and is
// wanted.
func (s *Snapshot) known(r Request, g *v1alpha1.AccessGrant) *Refusal {
	if g == nil {
		if s.unreadable[r.Grant] {
			return &Refusal{Code: CodeGrantInactive, Message: fmt.Sprintf("AccessGrant %s has a field or value that this version does not know", shownName(r.Grant)),
				Hint: "correct the grant, or update the proxy"}
		}
		return &Refusal{Code: CodeGrantRevoked, Message: fmt.Sprintf("AccessGrant %s does not exist or was deleted", shownName(r.Grant)), Hint: "ask for a new grant"}
	}
	switch {
	case s.unreadable[r.Grant]:
		return inactive(g, "has a field or value that this version does not know, or is there twice", "correct the grant, or update the proxy")
	case g.UID == "" || g.UID != r.GrantUID:
		return refuse(CodeGrantRevoked, g, "was deleted and made anew since the credential was issued", "fetch the credential of the new grant")
	case g.DeletionTimestamp != nil:
		return refuse(CodeGrantRevoked, g, "was deleted", "ask for a new grant")
	case g.Spec.DesiredState == v1alpha1.GrantRevoked:
		return refuse(CodeGrantRevoked, g, "was revoked", "ask for a new grant")
	}
	if err := checkGrant(g); err != nil {
		return inactive(g, "is not valid: "+Printable(err.Error(), maxShownText), "correct the grant")
	}
	return nil
}

func (s *Snapshot) locked(g *v1alpha1.AccessGrant, t *target) *Refusal {
	var object *v1alpha1.Target
	if t != nil {
		object = t.object
	}
	for _, l := range s.locks {
		if l.shuts(g, object) {
			return &Refusal{Code: CodeLocked, Rule: "AccessLock/" + shownName(l.name),
				Message: withMessage(fmt.Sprintf("AccessLock %s shuts this access", shownName(l.name)), l.reason),
				Hint:    "wait until an administrator removes the lock"}
		}
	}
	return nil
}

// open checks that the grant is within its time and that the operator accepted it as it is
// now. It returns when the grant ends.
func open(g *v1alpha1.AccessGrant, now time.Time) (time.Time, *Refusal) {
	expires, ok := expiry(g)
	if ok && !now.Before(expires) {
		return expires, refuse(CodeGrantExpired, g, "expired at "+expires.UTC().Format(time.RFC3339), "ask for a new grant")
	}
	accepted := meta.FindStatusCondition(g.Status.Conditions, v1alpha1.ConditionAccepted)
	switch {
	case accepted == nil || accepted.Status != metav1.ConditionTrue:
		return expires, inactive(g, "is not accepted", "its conditions say why: kubectl describe agrant "+shownName(g.Name))
	case accepted.ObservedGeneration != g.Generation:
		return expires, inactive(g, "was changed and is not accepted again yet", "try again in a moment")
	case !meta.IsStatusConditionTrue(g.Status.Conditions, v1alpha1.ConditionApproved):
		return expires, inactive(g, "is not approved", "its conditions say what it waits for: kubectl describe agrant "+shownName(g.Name))
	case !ok:
		return expires, inactive(g, "has no end that is known", "try again in a moment; its conditions say what it waits for")
	case g.Status.StartsAt.IsZero() || now.Before(g.Status.StartsAt.Time) || g.Spec.StartsAt != nil && now.Before(g.Spec.StartsAt.Time):
		return expires, inactive(g, "has not started", "try again when it has; kubectl describe agrant "+shownName(g.Name)+" says when")
	}
	return expires, nil
}

// credentialOf checks that the credential in use is still one of the grant's, and returns
// when it ends.
func credentialOf(g *v1alpha1.AccessGrant, r Request, now time.Time) (time.Time, *Refusal) {
	for _, v := range g.Status.Verifiers {
		if v.ID == r.CredentialID && isValid(v, now) {
			return v.ExpiresAt.Time, nil
		}
	}
	return time.Time{}, refuse(CodeAuthentication, g, "no longer takes this credential", "read the credential again: it was rotated or has expired")
}

// permitted checks that the grant permits what is asked of its Target, and that the Target
// is open.
func permitted(g *v1alpha1.AccessGrant, t *target, r Request) *Refusal {
	name := shownName(g.Spec.TargetRef.Name)
	if t == nil {
		return &Refusal{Code: CodeTargetShut, Message: fmt.Sprintf("Target %s does not exist", name), Hint: "ask an administrator to create it"}
	}
	if t.shutWith != nil {
		return &Refusal{Code: CodeTargetShut, Message: t.shutWith.message, Hint: "ask an administrator; kubectl describe atgt " + name + " says more"}
	}
	if r.Engine == "" || r.Engine != t.engine {
		return refuse(CodeNotPermitted, g, fmt.Sprintf("is for Target %s, which speaks %s", name, t.engine), "use a client of that protocol")
	}
	switch t.engine {
	case engineKubernetes:
		return permittedRole(g, t)
	case engineSSH:
		return permittedSSH(g, t, r)
	}
	if g.Spec.Postgres == nil {
		return refuse(CodeNotPermitted, g, "permits nothing on a PostgreSQL Target: it has no postgres block", "ask for a grant with spec.postgres")
	}
	if !permits(g.Spec.Postgres, r.Database) {
		return refuse(CodeNotPermitted, g, fmt.Sprintf("does not permit database %q", Printable(r.Database, maxDatabaseName)), "connect to a database that the grant names")
	}
	return nil
}

// admitted checks that the AccessPolicies admit the grant as it is now, whatever its status
// says: a policy that was tightened ends what no longer fits without the operator.
func admitted(g *v1alpha1.AccessGrant, t *target) (Terms, *Refusal) {
	terms, violations := judge(t.policies, g, t.object)
	if len(violations) > 0 {
		return terms, violated(g, violations[0])
	}
	if !IsApproved(terms, g, t.object) {
		return terms, inactive(g, "is not approved as it is now", "its conditions say what it waits for: kubectl describe agrant "+shownName(g.Name))
	}
	return terms, nil
}

// because names the policy that keeps a grant from being accepted, if one does: it says more
// than that the grant is not.
func because(refusal *Refusal, g *v1alpha1.AccessGrant, t *target) *Refusal {
	if refusal.Code != CodeGrantInactive || t == nil || t.shutWith != nil {
		return refusal
	}
	if _, violations := judge(t.policies, g, t.object); len(violations) > 0 {
		return violated(g, violations[0])
	}
	return refusal
}

func violated(g *v1alpha1.AccessGrant, v Violation) *Refusal {
	return &Refusal{Code: CodePolicy, Rule: RuleName(v.Policy), Message: v.Message,
		Hint: "kubectl describe agrant " + shownName(g.Name) + " lists all that policies refuse"}
}

// permittedRole checks that the grant's role is one that its Target offers now.
func permittedRole(g *v1alpha1.AccessGrant, t *target) *Refusal {
	p := g.Spec.Kubernetes
	if p == nil {
		return refuse(CodeNotPermitted, g, "permits nothing on a Kubernetes Target: it has no kubernetes block", "ask for a grant with spec.kubernetes")
	}
	if !permitsRole(t.object.Spec.Kubernetes, p.RoleRef) {
		return refuse(CodeNotPermitted, g, fmt.Sprintf("names %s %s, which its Target does not offer", p.RoleRef.Kind, shownName(p.RoleRef.Name)), "ask for a grant with a role of the Target's")
	}
	return nil
}

// masksFor returns the masks of a session. Exemptions hold for an exchanged identity
// alone.
func (t *target) masksFor(g *v1alpha1.AccessGrant, r Request) *masks {
	if !r.Exchanged || !t.exempts {
		return t.masks
	}
	return newMasks(t.masks.rules, lifted(t.masks.rules, g.Spec.Subject))
}

// versionOf identifies everything that decisions and masks of an admission depend on.
func versionOf(t *target, g *v1alpha1.AccessGrant, m *masks) (string, error) {
	h := sha256.New()
	h.Write(t.digest[:])
	spec, err := json.Marshal([]any{g.UID, g.Spec, len(m.lift)})
	if err != nil {
		return "", err
	}
	h.Write(spec)
	for i, r := range m.rules {
		if m.lift[r] {
			fmt.Fprintf(h, " %d", i)
		}
	}
	return hex.EncodeToString(h.Sum(nil)[:16]), nil
}
