package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/masking/fn"
)

// Assessment says whether an object can take effect, for its conditions. The zero
// Assessment says no.
type Assessment struct {
	OK      bool
	Reason  string // a Reason constant of the API
	Message string // what is wrong and what to do about it
}

// AssessTarget judges a Target by its rules, store and requirements.
func AssessTarget(in Input, t *v1alpha1.Target) Assessment {
	if t == nil || in.Namespace == "" {
		return Assessment{Reason: v1alpha1.ReasonInvalid, Message: "there is no Target"}
	}
	if s := newLibrary(in).compile(t).shutWith; s != nil {
		return Assessment{Reason: s.reason, Message: s.message}
	}
	return Assessment{OK: true, Reason: v1alpha1.ReasonAccepted, Message: "the Target's references are there and its rules compile"}
}

// AssessGrant judges whether a grant is acceptable: its Target is there and of the kind
// that its permissions are for. It does not judge the time.
func AssessGrant(in Input, g *v1alpha1.AccessGrant) Assessment {
	if g == nil || in.Namespace == "" || g.Namespace != in.Namespace {
		return Assessment{Reason: v1alpha1.ReasonInvalid, Message: "the grant is not an object of this gate namespace"}
	}
	if err := checkGrant(g); err != nil {
		return Assessment{Reason: v1alpha1.ReasonInvalid, Message: err.Error()}
	}
	for _, t := range in.Targets {
		if t == nil || t.Namespace != g.Namespace || t.Name != g.Spec.TargetRef.Name || t.DeletionTimestamp != nil {
			continue
		}
		if a := assessFit(t, g); !a.OK {
			return a
		}
		return assessPolicies(in, t, g)
	}
	return Assessment{Reason: v1alpha1.ReasonTargetMissing, Message: fmt.Sprintf("Target %s of spec.targetRef does not exist in namespace %s; create it", g.Spec.TargetRef.Name, g.Namespace)}
}

// assessPolicies judges whether AccessPolicies admit a grant that fits its Target.
func assessPolicies(in Input, t *v1alpha1.Target, g *v1alpha1.AccessGrant) Assessment {
	_, violations := JudgeGrant(in, g, t)
	if len(violations) == 0 {
		return Assessment{OK: true, Reason: v1alpha1.ReasonAccepted, Message: fmt.Sprintf("the grant fits Target %s", t.Name)}
	}
	sentences := make([]string, len(violations))
	for i, v := range violations {
		sentences[i] = v.Message
	}
	return Assessment{Reason: v1alpha1.ReasonPolicyViolated, Message: strings.Join(sentences, "; ")}
}

// assessFit judges whether a grant is of the kind that its Target is.
func assessFit(t *v1alpha1.Target, g *v1alpha1.AccessGrant) Assessment {
	if t.Spec.Kubernetes != nil {
		return assessOffer(t, g)
	}
	if t.Spec.SSH != nil {
		return assessLogins(t, g)
	}
	if t.Spec.Postgres != nil && g.Spec.Postgres == nil {
		return Assessment{Reason: v1alpha1.ReasonInvalid, Message: fmt.Sprintf("Target %s is a PostgreSQL server and the grant has no spec.postgres, so that it permits nothing; set it in a new grant", t.Name)}
	}
	if t.Spec.Postgres == nil {
		return Assessment{Reason: v1alpha1.ReasonInvalid, Message: fmt.Sprintf("Target %s has no protocol that this version knows", t.Name)}
	}
	return Assessment{OK: true, Reason: v1alpha1.ReasonAccepted, Message: fmt.Sprintf("the grant fits Target %s", t.Name)}
}

// assessOffer judges whether a grant names a role that a Kubernetes Target offers.
func assessOffer(t *v1alpha1.Target, g *v1alpha1.AccessGrant) Assessment {
	p := g.Spec.Kubernetes
	switch {
	case p == nil:
		return Assessment{Reason: v1alpha1.ReasonInvalid, Message: fmt.Sprintf("Target %s is a Kubernetes API server and the grant has no spec.kubernetes, so that it permits nothing; set it in a new grant", t.Name)}
	case !permitsRole(t.Spec.Kubernetes, p.RoleRef):
		return Assessment{Reason: v1alpha1.ReasonTargetNotReady, Message: fmt.Sprintf("Target %s does not offer %s %s of spec.kubernetes.roleRef; add it to the Target's roles, or make a grant with one of them", t.Name, p.RoleRef.Kind, p.RoleRef.Name)}
	}
	return Assessment{OK: true, Reason: v1alpha1.ReasonAccepted, Message: fmt.Sprintf("the grant fits Target %s", t.Name)}
}

// assessLogins judges whether a grant names logins that an SSH Target offers, and no more than
// the Target permits.
func assessLogins(t *v1alpha1.Target, g *v1alpha1.AccessGrant) Assessment {
	p := g.Spec.SSH
	if p == nil {
		return Assessment{Reason: v1alpha1.ReasonInvalid, Message: fmt.Sprintf("Target %s is an SSH server and the grant has no spec.ssh, so that it permits nothing; set it in a new grant", t.Name)}
	}
	for _, l := range p.Logins {
		if !slices.Contains(t.Spec.SSH.Logins, l) {
			return Assessment{Reason: v1alpha1.ReasonTargetNotReady, Message: fmt.Sprintf("Target %s does not offer login %s of spec.ssh.logins; add it to the Target's logins, or make a grant with one of them", t.Name, shownName(l))}
		}
	}
	if slices.Contains(p.Channels, v1alpha1.SSHAgent) && t.Spec.SSH.AgentForwarding != v1alpha1.SSHAgentPermitted {
		return Assessment{Reason: v1alpha1.ReasonTargetNotReady, Message: fmt.Sprintf("Target %s does not permit agent forwarding, which spec.ssh.channels names; set its spec.ssh.agentForwarding, or make a grant without", t.Name)}
	}
	return Assessment{OK: true, Reason: v1alpha1.ReasonAccepted, Message: fmt.Sprintf("the grant fits Target %s", t.Name)}
}

// AssessMaskingRule judges whether a rule compiles.
func AssessMaskingRule(r *v1alpha1.MaskingRule) Assessment {
	if r == nil {
		return Assessment{Reason: v1alpha1.ReasonInvalid, Message: "there is no rule"}
	}
	_, err := compileMaskingRule(r, false, fn.Options{})
	if err == nil {
		_, err = selectorOf(&r.Spec.TargetSelector)
	}
	return assessRule(err)
}

// AssessAccessPolicy judges whether a policy compiles.
func AssessAccessPolicy(p *v1alpha1.AccessPolicy) Assessment {
	if p == nil {
		return Assessment{Reason: v1alpha1.ReasonInvalid, Message: "there is no policy"}
	}
	if err := compileAccessPolicy(p, false).err; err != nil {
		return Assessment{Reason: v1alpha1.ReasonRuleInvalid, Message: err.Error() + "; the policy shuts every Target that it selects until it is corrected"}
	}
	return Assessment{OK: true, Reason: v1alpha1.ReasonReady, Message: "the policy compiles"}
}

// AssessCommandRule judges whether a rule compiles.
func AssessCommandRule(r *v1alpha1.CommandRule) Assessment {
	if r == nil {
		return Assessment{Reason: v1alpha1.ReasonInvalid, Message: "there is no rule"}
	}
	_, err := compileCommandRule(r, false)
	if err == nil {
		_, err = selectorOf(&r.Spec.TargetSelector)
	}
	return assessRule(err)
}

func assessRule(err error) Assessment {
	if err != nil {
		return Assessment{Reason: v1alpha1.ReasonRuleInvalid, Message: err.Error() + "; the rule shuts every Target that it selects until it is corrected"}
	}
	return Assessment{OK: true, Reason: v1alpha1.ReasonReady, Message: "the rule compiles"}
}
