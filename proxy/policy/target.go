package policy

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/masking/fn"
)

// enginePostgres is the name of the protocol, as in Request.Engine.
const enginePostgres = "postgres"

// shut says why a Target is not open.
type shut struct {
	reason  string
	message string
}

func shutf(reason, format string, args ...any) *shut {
	return &shut{reason, fmt.Sprintf(format, args...)}
}

// target is one compiled Target.
type target struct {
	object   *v1alpha1.Target
	engine   string
	store    *v1alpha1.RecordingStore
	rules    *ruleSet
	masks    *masks // without exemptions
	exempts  bool   // some rule exempts somebody
	digest   [sha256.Size]byte
	policies []*accessPolicy // that select it
	shutWith *shut           // why it is not open; nil if it is
}

// rule is one compiled rule, or why it does not compile.
type rule struct {
	source
	selector labels.Selector // nil: not known, so that it selects every Target
	err      error
	command  *commandRule
	masking  *maskingRule
	content  []byte // what the policy's version depends on
}

func (r *rule) selects(t *v1alpha1.Target) bool {
	return r.selector == nil || r.selector.Matches(labels.Set(t.Labels))
}

// library is everything that Targets are compiled from.
type library struct {
	namespace string
	rules     []*rule         // ordered
	policies  []*accessPolicy // ordered
	stores    map[string]*v1alpha1.RecordingStore
	// closed shuts every Target: an object whose selector is not known.
	closed *shut
	// undecodable Targets and stores by name.
	badTargets, badStores map[string]string
}

func newLibrary(in Input) *library {
	l := &library{namespace: in.Namespace, stores: map[string]*v1alpha1.RecordingStore{},
		badTargets: map[string]string{}, badStores: map[string]string{}}
	l.takeUndecodable(in)
	policies, unknown := accessPolicies(in)
	if l.policies = policies; unknown != nil {
		l.closed = shutf(v1alpha1.ReasonRuleInvalid, "%s, and so shuts every Target; correct or delete it", unknown)
	}
	for _, s := range in.Stores {
		switch {
		case s == nil || s.Namespace != in.Namespace:
		case l.stores[s.Name] != nil:
			l.badStores[s.Name] = "it is there twice"
		default:
			l.stores[s.Name] = s
		}
	}
	for _, r := range in.MaskingRules {
		if r == nil {
			l.closed = shutf(v1alpha1.ReasonRuleInvalid, "a MaskingRule could not be read")
			continue
		}
		if root, ours := in.governs(r.Namespace); ours {
			c, err := compileMaskingRule(r, root, fn.Options{Secret: in.Secret})
			l.add(&rule{masking: c, err: err}, root, string(v1alpha1.RuleKindMasking), &r.ObjectMeta, &r.Spec.TargetSelector, r.Spec)
		}
	}
	for _, r := range in.CommandRules {
		if r == nil {
			l.closed = shutf(v1alpha1.ReasonRuleInvalid, "a CommandRule could not be read")
			continue
		}
		if root, ours := in.governs(r.Namespace); ours {
			c, err := compileCommandRule(r, root)
			l.add(&rule{command: c, err: err}, root, string(v1alpha1.RuleKindCommand), &r.ObjectMeta, &r.Spec.TargetSelector, r.Spec)
		}
	}
	slices.SortStableFunc(l.rules, func(a, b *rule) int { return compareSources(a.source, b.source) })
	return l
}

// governs reports whether rules and locks of a namespace govern this gate, and whether it
// is the root namespace.
func (in *Input) governs(namespace string) (root, ours bool) {
	root = namespace != "" && namespace == in.RootNamespace
	return root, root || namespace == in.Namespace
}

func (l *library) add(r *rule, root bool, kind string, m *metav1.ObjectMeta, selector *metav1.LabelSelector, spec any) {
	r.source = source{root, v1alpha1.RuleReference{Kind: kind, Namespace: m.Namespace, Name: m.Name}}
	sel, err := selectorOf(selector)
	if err != nil {
		r.err = errors.Join(r.err, fmt.Errorf("spec.targetSelector: %w", err))
	} else {
		r.selector = sel
	}
	content, err := json.Marshal(spec)
	if err != nil {
		r.err = errors.Join(r.err, err)
	}
	r.content = append(fmt.Appendf(nil, "%s %q %q %s ", kind, m.Namespace, m.Name, m.UID), content...)
	l.rules = append(l.rules, r)
}

// takeUndecodable notes what objects that could not be decoded shut. Grants, locks and
// Sessions are the Snapshot's.
func (l *library) takeUndecodable(in Input) {
	for _, u := range in.Undecodable {
		name := shownName(u.Name)
		switch u.Kind {
		case "AccessGrant", "AccessLock", "Session", "ApprovalRequest":
		case "Target":
			l.badTargets[u.Name] = "it has a field or value that this version does not know"
		case "RecordingStore":
			l.badStores[u.Name] = "it has a field or value that this version does not know"
		default:
			l.closed = shutf(v1alpha1.ReasonRuleInvalid, "%s %s in namespace %s has a field or value that this version does not know, and so shuts every Target; correct or delete it",
				shownName(u.Kind), name, shownName(u.Namespace))
		}
	}
}

// compile compiles one Target.
func (l *library) compile(t *v1alpha1.Target) *target {
	c := &target{object: t, masks: newMasks(nil, nil), rules: &ruleSet{}}
	c.shutWith = l.open(c)
	return c
}

// open fills in c and returns why its Target cannot be open, if so.
func (l *library) open(c *target) *shut {
	t := c.object
	if t.Namespace != l.namespace || t.Name == "" || t.UID == "" {
		return shutf(v1alpha1.ReasonInvalid, "Target %s is not an object of this gate namespace", shownName(t.Name))
	}
	if why := l.badTargets[t.Name]; why != "" {
		return shutf(v1alpha1.ReasonInvalid, "Target %s is shut: %s", shownName(t.Name), why)
	}
	if t.DeletionTimestamp != nil {
		return shutf(v1alpha1.ReasonInvalid, "Target %s is being deleted", shownName(t.Name))
	}
	if l.closed != nil {
		return l.closed
	}
	if err := c.checkSpec(); err != nil {
		return shutf(v1alpha1.ReasonInvalid, "Target %s: %v", shownName(t.Name), err)
	}
	if s := l.findStore(c); s != nil {
		return s
	}
	on, wrong := enabled(t.Spec.Baseline)
	if wrong != "" {
		return shutf(v1alpha1.ReasonInvalid, "Target %s: spec.baseline.disable: %q is no baseline rule; docs/baseline.md lists them", shownName(t.Name), Printable(wrong, maxShownName))
	}
	c.rules.baseline = on
	if s := l.findPolicies(c); s != nil {
		return s
	}
	return l.findRules(c)
}

func (t *target) checkSpec() error {
	p, k, s := t.object.Spec.Postgres, t.object.Spec.Kubernetes, t.object.Spec.SSH
	switch {
	case k != nil && p == nil && s == nil:
		t.engine = engineKubernetes
		if err := checkLimits(t.object.Spec.IdleTimeout, nil); err != nil {
			return err
		}
		return checkKubernetesTarget(k)
	case s != nil && p == nil && k == nil:
		t.engine = engineSSH
		if err := checkLimits(t.object.Spec.IdleTimeout, nil); err != nil {
			return err
		}
		return checkSSHTarget(s)
	case p == nil || k != nil || s != nil:
		return errors.New("exactly one of postgres, kubernetes and ssh must be set")
	}
	if err := checkLimits(t.object.Spec.IdleTimeout, p.StatementTimeout); err != nil {
		return err
	}
	t.engine = enginePostgres
	if p.Host == "" {
		return errors.New("spec.postgres.host: must be set")
	}
	if p.Port < 1 || p.Port > 65535 {
		return errors.New("spec.postgres.port: must be between 1 and 65535")
	}
	switch p.TLS.Mode {
	case v1alpha1.TLSVerifyFull, v1alpha1.TLSVerifyCA:
	case v1alpha1.TLSDisable:
		if p.TLS.CARef != nil {
			return errors.New("spec.postgres.tls.caRef: has no meaning with mode Disable")
		}
		if p.TLS.ClientCertRef != nil {
			return errors.New("spec.postgres.tls.clientCertRef: has no meaning with mode Disable")
		}
	default:
		return fmt.Errorf("spec.postgres.tls.mode: %q is not VerifyFull, VerifyCA or Disable", p.TLS.Mode)
	}
	return checkLogin(p)
}

// checkLogin checks that a Target says in exactly one way how to sign in.
func checkLogin(p *v1alpha1.PostgresTarget) error {
	switch {
	case (p.Login == nil) == (p.EphemeralRole == nil):
		return errors.New("spec.postgres: exactly one of login and ephemeralRole must be set")
	case p.LoginSecret() == "" && p.Login != nil:
		return errors.New("spec.postgres.login.secretRef.name: must be set")
	case p.LoginSecret() == "":
		return errors.New("spec.postgres.ephemeralRole.adminSecretRef.name: must be set")
	case p.EphemeralRole != nil && (len(p.EphemeralRole.InRoles) == 0 || slices.Contains(p.EphemeralRole.InRoles, "")):
		return errors.New("spec.postgres.ephemeralRole.inRoles: must name at least one role")
	}
	return nil
}

// defaultStore is where a Target without a RecordingStore is recorded.
func defaultStore(namespace string) *v1alpha1.RecordingStore {
	rows, bytes := int32(100), int32(64<<10)
	s := &v1alpha1.RecordingStore{Spec: v1alpha1.RecordingStoreSpec{
		ConfigMap: &v1alpha1.ConfigMapStore{MaxBytes: 64 << 20},
		Retention: metav1.Duration{Duration: 720 * time.Hour},
		Responses: v1alpha1.ResponseBounds{MaxRows: &rows, MaxBytes: &bytes},
	}}
	s.Namespace = namespace
	return s
}

func (l *library) findStore(c *target) *shut {
	rec := c.object.Spec.Recording
	if rec == nil {
		c.store = defaultStore(l.namespace)
		return nil
	}
	name := rec.StoreRef.Name
	if why := l.badStores[name]; why != "" {
		return shutf(v1alpha1.ReasonInvalid, "RecordingStore %s is not usable: %s", shownName(name), why)
	}
	s := l.stores[name]
	switch {
	case s == nil || s.DeletionTimestamp != nil:
		return shutf(v1alpha1.ReasonReferenceMissing, "RecordingStore %s of spec.recording.storeRef is missing; create it, or remove the reference", shownName(name))
	case s.Spec.ConfigMap == nil:
		return shutf(v1alpha1.ReasonInvalid, "RecordingStore %s: exactly one of configMap must be set", shownName(name))
	}
	ready := meta.FindStatusCondition(s.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case ready != nil && ready.Status == metav1.ConditionTrue:
		c.store = s
		return nil
	case ready != nil && ready.Reason == v1alpha1.ReasonFull:
		return shutf(v1alpha1.ReasonFull, "RecordingStore %s is full; raise its maxBytes or delete old recordings", shownName(name))
	}
	return shutf(v1alpha1.ReasonPending, "RecordingStore %s is not ready; its conditions say why", shownName(name))
}

// findPolicies collects the AccessPolicies that select the Target and shuts it if one does
// not compile.
func (l *library) findPolicies(c *target) *shut {
	c.policies = selecting(l.policies, c.object)
	for _, p := range c.policies {
		if p.err != nil {
			return shutf(v1alpha1.ReasonRuleInvalid, "%s selects the Target and does not compile: %s", RuleName(p.ref), Printable(p.err.Error(), maxShownText))
		}
	}
	return nil
}

// findRules collects the rules that select the Target and shuts it if one does not
// compile or a required kind is missing.
func (l *library) findRules(c *target) *shut {
	t := c.object
	h := sha256.New()
	found := map[v1alpha1.RuleKind]bool{}
	var masking []*maskingRule
	for _, r := range l.rules {
		if !r.selects(t) {
			continue
		}
		if r.err != nil {
			return shutf(v1alpha1.ReasonRuleInvalid, "%s selects the Target and does not compile: %s", RuleName(r.ref), Printable(r.err.Error(), maxShownText))
		}
		found[v1alpha1.RuleKind(r.ref.Kind)] = true
		fmt.Fprintf(h, "%d ", len(r.content))
		h.Write(r.content)
		if r.masking != nil {
			masking = append(masking, r.masking)
			c.exempts = c.exempts || len(r.masking.exempt) > 0
			continue
		}
		c.rules.add(r.command)
	}
	for _, kind := range t.Spec.Requires {
		if kind != v1alpha1.RuleKindMasking && kind != v1alpha1.RuleKindCommand {
			return shutf(v1alpha1.ReasonInvalid, "Target %s: spec.requires: %q is not MaskingRule or CommandRule", shownName(t.Name), Printable(string(kind), maxShownName))
		}
		if !found[kind] {
			return shutf(v1alpha1.ReasonRuleMissing, "Target %s requires a %s and none selects it; create one whose targetSelector matches the Target's labels", shownName(t.Name), kind)
		}
	}
	c.masks = newMasks(masking, nil)
	spec, err := json.Marshal([]any{t.UID, t.Labels, t.Spec, c.store.Spec})
	if err != nil {
		return shutf(v1alpha1.ReasonInvalid, "Target %s cannot be read", shownName(t.Name))
	}
	h.Write(spec)
	h.Sum(c.digest[:0])
	return nil
}

func (s *ruleSet) add(r *commandRule) {
	switch r.action {
	case v1alpha1.ActionDeny:
		s.deny = append(s.deny, r)
	case v1alpha1.ActionRequireApproval:
		s.approve = append(s.approve, r)
	case v1alpha1.ActionAllow:
		s.allow = append(s.allow, r)
	case v1alpha1.ActionAudit:
		s.audit = append(s.audit, r)
	}
}
