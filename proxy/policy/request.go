package policy

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/kubeapi"
)

// engineKubernetes is the name of the protocol, as in Request.Engine.
const engineKubernetes = "kubernetes"

// Bounds of Kubernetes Targets and grants, the same as in the API's schema.
const (
	maxRoles      = 16
	maxNamespaces = 64
	maxNamespace  = 63
	maxPorts      = 64
)

// requestRules decides on the requests of one session with a Kubernetes API server. What the
// grant's role permits is the API server's to say; the rules only ever take away.
type requestRules struct {
	rules *ruleSet
	grant v1alpha1.RuleReference
	spec  *v1alpha1.KubernetesPermissions
}

// Decide decides on one request.
func (s *requestRules) Decide(c *Command) Decision {
	if c == nil || c.Engine != engineKubernetes || c.Kubernetes == nil || !c.Kubernetes.Known {
		return Decision{Refusal: refuseUnknownRequest(c)}
	}
	f := c.Kubernetes
	d := s.decide(f)
	for _, r := range s.rules.audit {
		if r.concerns(f) {
			d.Audit = append(d.Audit, r.ref)
		}
	}
	return d
}

func (s *requestRules) decide(f *kubeapi.Facts) Decision {
	for _, b := range s.rules.baseline {
		if b.request != nil && b.request(f) {
			d := deniedByBaseline(b)
			if why := shownPods(f.Pods); why != "" && (f.EntersPod() || f.MakesPods()) {
				d.Refusal.Message += " Here: " + why
			}
			return d
		}
	}
	for _, r := range s.rules.deny {
		if r.concerns(f) {
			return deniedByRule(r, nil)
		}
	}
	if why := s.beyond(f); why != "" {
		return Decision{Rule: s.grant, Refusal: &Refusal{Code: CodeNotPermitted, Rule: RuleName(s.grant),
			Message: "the grant does not permit " + why, Hint: "ask for a grant that does"}}
	}
	exception, refusal := s.start(f)
	if refusal != nil {
		return Decision{Refusal: refusal}
	}
	var best *commandRule
	for _, r := range s.rules.approve {
		if best != nil && (best.root != r.root || !stricter(r.terms, best.terms)) {
			continue
		}
		if f.Line && r.concernsLine(f) || !f.Line && r.concerns(f) {
			best = r
		}
	}
	if best != nil {
		return Decision{Action: RequireApproval, Rule: best.ref, Terms: best.terms, Message: best.message}
	}
	return Decision{Action: Allow, Rule: exception}
}

// start decides on what a request starts in a container. What is not understood needs a
// grant of Raw, or a rule that allows or holds it, which start returns.
func (s *requestRules) start(f *kubeapi.Facts) (v1alpha1.RuleReference, *Refusal) {
	if !f.Is("", "pods", "exec") || s.spec.Exec == v1alpha1.ExecRaw || f.Opens {
		return v1alpha1.RuleReference{}, nil
	}
	why := misunderstood(started(f))
	if why == "" {
		return v1alpha1.RuleReference{}, nil
	}
	for _, rules := range [...][]*commandRule{s.rules.allow, s.rules.approve} {
		if i := slices.IndexFunc(rules, func(r *commandRule) bool { return r.admitsStart(f) }); i >= 0 {
			return rules[i].ref, nil
		}
	}
	return v1alpha1.RuleReference{}, refuseStart(why)
}

// refuseStart refuses what is not understood.
func refuseStart(why string) *Refusal {
	return &Refusal{Code: CodeUnknownCommand,
		Message: "the command is denied because it is not understood: " + Printable(why, maxShownText),
		Hint:    "name each program and its arguments literally, or ask for a rule that allows it (shell.unknown or shell.commands); docs/rules.md"}
}

// shownPods says why pods are refused.
func shownPods(p *kubeapi.Pods) string {
	switch {
	case p == nil:
		return ""
	case !p.Known:
		return Printable(p.Unknown, maxShownText)
	}
	return Printable(strings.Join(p.Escapes, ", "), maxShownText)
}

func refuseUnknownRequest(c *Command) *Refusal {
	r := &Refusal{Code: CodeUnknownCommand, Message: "the request is not understood, and what is not understood is denied",
		Hint: "send it in the usual form, or ask an administrator"}
	if c != nil && c.Kubernetes != nil && c.Kubernetes.Unknown != "" {
		r.Message = "the request is denied because it is not understood: " + Printable(c.Kubernetes.Unknown, maxShownText)
	}
	return r
}

// aboutOneself are the requests at cluster scope by which a client learns what it may do.
var aboutOneself = []string{
	"selfsubjectaccessreviews.authorization.k8s.io", "selfsubjectrulesreviews.authorization.k8s.io", "selfsubjectreviews.authentication.k8s.io",
}

// discovery are the paths, and beginnings of paths, that say what an API server offers.
var discovery = []string{"/api", "/apis", "/openapi", "/version", "/livez", "/readyz", "/healthz"}

// beyond says what of a request the grant does not permit; empty if it permits all of it.
func (s *requestRules) beyond(f *kubeapi.Facts) string {
	if !f.IsResource() {
		return beyondDiscovery(f)
	}
	switch {
	case f.Namespace == "" && f.Verb == "create" && slices.Contains(aboutOneself, f.Named()):
		return ""
	case f.Namespace == "":
		return fmt.Sprintf("%s of %s outside the namespaces that it names", shownName(f.Verb), shownName(f.Named()))
	case !slices.Contains(s.spec.Namespaces, f.Namespace):
		return "namespace " + shownName(f.Namespace)
	case f.Group == "" && f.Resource == "secrets" && s.spec.Secrets != v1alpha1.SecretsReadable && s.spec.Secrets != v1alpha1.SecretsMasked:
		return "access to Secrets"
	}
	return s.beyondStreams(f)
}

func beyondDiscovery(f *kubeapi.Facts) string {
	if f.Verb == "get" || f.Verb == "head" {
		for _, p := range discovery {
			if f.Path == p || strings.HasPrefix(f.Path, p+"/") {
				return ""
			}
		}
	}
	return fmt.Sprintf("%s of a path that is no resource", shownName(f.Verb))
}

// beyondStreams is about what leads into pods.
func (s *requestRules) beyondStreams(f *kubeapi.Facts) string {
	if f.Group != "" || f.Resource != "pods" {
		return ""
	}
	switch f.Subresource {
	case "exec":
		return s.beyondExec(f)
	case "attach":
		if s.spec.Exec != v1alpha1.ExecRaw {
			return "attach"
		}
	case "portforward":
		if len(s.spec.Ports) == 0 {
			return "port-forward"
		}
	}
	return ""
}

// beyondExec is about what runs in containers. What gates a shell says so: under another mode
// it would be none.
func (s *requestRules) beyondExec(f *kubeapi.Facts) string {
	mode := s.spec.Exec
	switch {
	case mode != v1alpha1.ExecCommands && mode != v1alpha1.ExecGated && mode != v1alpha1.ExecRaw:
		return "exec"
	case f.Stream == nil:
		return "exec that is not understood"
	case f.Opens || f.Line:
		if mode != v1alpha1.ExecGated {
			return "a gated shell"
		}
	case f.Stream.TTY && mode == v1alpha1.ExecGated:
		return "a terminal but for a shell alone, with input (exec -it POD -- sh)"
	case f.Stream.TTY && mode != v1alpha1.ExecRaw:
		return "exec with a terminal"
	}
	return ""
}

// checkKubernetes says what is wrong with a grant's block by itself.
func checkKubernetes(p *v1alpha1.KubernetesPermissions) error {
	if p == nil {
		return nil
	}
	if n := len(p.Namespaces); n == 0 || n > maxNamespaces {
		return fmt.Errorf("spec.kubernetes.namespaces: must have 1 to %d items", maxNamespaces)
	}
	for i, n := range p.Namespaces {
		if n == "" || len(n) > maxNamespace || strings.ContainsAny(n, "*/%:") {
			return fmt.Errorf("spec.kubernetes.namespaces[%d]: must be the name of a namespace", i)
		}
	}
	if err := checkRole(p.RoleRef); err != nil {
		return fmt.Errorf("spec.kubernetes.roleRef: %w", err)
	}
	switch p.Secrets {
	case v1alpha1.SecretsDenied, v1alpha1.SecretsMasked, v1alpha1.SecretsReadable:
	default:
		return fmt.Errorf("spec.kubernetes.secrets: %q is not Denied, Masked or Readable", p.Secrets)
	}
	switch p.Exec {
	case v1alpha1.ExecDenied, v1alpha1.ExecCommands, v1alpha1.ExecGated, v1alpha1.ExecRaw:
	default:
		return fmt.Errorf("spec.kubernetes.exec: %q is not Denied, Commands, Gated or Raw", p.Exec)
	}
	if len(p.Ports) > maxPorts || slices.ContainsFunc(p.Ports, func(n int32) bool { return n < 1 || n > 65535 }) {
		return fmt.Errorf("spec.kubernetes.ports: must have at most %d items between 1 and 65535", maxPorts)
	}
	return nil
}

func checkRole(r v1alpha1.RoleReference) error {
	switch {
	case r.Kind != v1alpha1.RoleKindRole && r.Kind != v1alpha1.RoleKindClusterRole:
		return fmt.Errorf("kind %q is not Role or ClusterRole", r.Kind)
	case r.Name == "" || len(r.Name) > 253 || strings.ContainsAny(r.Name, "/%"):
		return errors.New("name must be that of a role")
	}
	return nil
}

// checkKubernetesTarget says what is wrong with a Target's block by itself.
func checkKubernetesTarget(t *v1alpha1.KubernetesTarget) error {
	if n := len(t.Roles); n == 0 || n > maxRoles {
		return fmt.Errorf("spec.kubernetes.roles: must have 1 to %d items", maxRoles)
	}
	for i, r := range t.Roles {
		if err := checkRole(r); err != nil {
			return fmt.Errorf("spec.kubernetes.roles[%d]: %w", i, err)
		}
	}
	if t.Server == nil {
		return nil
	}
	u, err := url.Parse(t.Server.URL)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("spec.kubernetes.server.url: must be https://HOST or https://HOST:PORT")
	}
	if t.Server.CredentialRef.Name == "" {
		return errors.New("spec.kubernetes.server.credentialRef.name: must be set")
	}
	return nil
}

// permitsRole reports whether a Target lets a grant name a role.
func permitsRole(t *v1alpha1.KubernetesTarget, r v1alpha1.RoleReference) bool {
	return slices.Contains(t.Roles, r)
}
