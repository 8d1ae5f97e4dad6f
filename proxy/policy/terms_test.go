package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// makePolicy returns a policy for Targets of tier prod that names the subject of makeGrant.
func makePolicy(namespace, name string, change func(*v1alpha1.AccessPolicySpec)) *v1alpha1.AccessPolicy {
	p := &v1alpha1.AccessPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	p.Spec.TargetSelector = metav1.LabelSelector{MatchLabels: map[string]string{"tier": "prod"}}
	p.Spec.Subjects = []v1alpha1.SubjectPattern{{Kind: v1alpha1.SubjectServiceAccount, Namespaces: []string{"shop"}, Names: []string{"agent"}}}
	if change != nil {
		change(&p.Spec)
	}
	return p
}

func duration(d time.Duration) *metav1.Duration { return &metav1.Duration{Duration: d} }

func limits(l v1alpha1.GrantLimits) func(*v1alpha1.AccessPolicySpec) {
	return func(s *v1alpha1.AccessPolicySpec) { s.Limits = &l }
}

func requires(r v1alpha1.GrantRequirements) func(*v1alpha1.AccessPolicySpec) {
	return func(s *v1alpha1.AccessPolicySpec) { s.Requires = &r }
}

func subjects(all ...v1alpha1.SubjectPattern) func(*v1alpha1.AccessPolicySpec) {
	return func(s *v1alpha1.AccessPolicySpec) { s.Subjects = all }
}

// ceiling is a policy without subjects.
func ceiling(s *v1alpha1.AccessPolicySpec) {
	s.Subjects, s.Limits = nil, &v1alpha1.GrantLimits{MaxDuration: duration(30 * time.Minute)}
}

// TestJudgeGrant tries everything that policies admit and refuse, in the proxy's way too:
// what JudgeGrant refuses, a session is refused with the same sentence.
func TestJudgeGrant(t *testing.T) {
	const gate, root = "shop-gate", "cardea-system"
	anybody := v1alpha1.SubjectPattern{Kind: v1alpha1.SubjectServiceAccount, Namespaces: []string{"*"}, Names: []string{"*"}}
	nobody := v1alpha1.SubjectPattern{Kind: v1alpha1.SubjectUser, Names: []string{"*"}}
	postgres := func(l v1alpha1.PostgresLimits) func(*v1alpha1.AccessPolicySpec) {
		return limits(v1alpha1.GrantLimits{Postgres: &l})
	}
	one := func(change func(*v1alpha1.AccessPolicySpec)) []*v1alpha1.AccessPolicy {
		return []*v1alpha1.AccessPolicy{makePolicy(gate, "prod", change)}
	}
	tests := map[string]struct {
		policies []*v1alpha1.AccessPolicy
		grant    func(*v1alpha1.AccessGrant)
		target   func(*v1alpha1.Target)
		input    func(*Input)
		want     []string // what each violation contains, in order
	}{
		"no policy":         {},
		"one that names it": {policies: one(nil)},
		"one of another Target": {policies: one(func(s *v1alpha1.AccessPolicySpec) {
			s.TargetSelector.MatchLabels, s.Subjects = map[string]string{"tier": "test"}, []v1alpha1.SubjectPattern{nobody}
		})},
		"one of another gate":     {policies: []*v1alpha1.AccessPolicy{makePolicy("other", "prod", subjects(nobody))}},
		"another name":            {policies: one(subjects(v1alpha1.SubjectPattern{Kind: v1alpha1.SubjectServiceAccount, Namespaces: []string{"shop"}, Names: []string{"bot"}})), want: []string{"no AccessPolicy names ServiceAccount shop/agent"}},
		"another namespace":       {policies: one(subjects(v1alpha1.SubjectPattern{Kind: v1alpha1.SubjectServiceAccount, Namespaces: []string{"shop-*"}, Names: []string{"*"}})), want: []string{"names ServiceAccount shop/agent"}},
		"another kind":            {policies: one(subjects(nobody)), want: []string{"names ServiceAccount shop/agent"}},
		"another letter case":     {policies: one(subjects(v1alpha1.SubjectPattern{Kind: v1alpha1.SubjectServiceAccount, Namespaces: []string{"shop"}, Names: []string{"AGENT"}})), want: []string{"names ServiceAccount"}},
		"globs":                   {policies: one(subjects(v1alpha1.SubjectPattern{Kind: v1alpha1.SubjectServiceAccount, Namespaces: []string{"s*"}, Names: []string{"a*t"}}))},
		"one without subjects":    {policies: one(ceiling), want: []string{"no AccessPolicy names"}},
		"one of two names it":     {policies: []*v1alpha1.AccessPolicy{makePolicy(gate, "a", subjects(nobody)), makePolicy(gate, "b", nil)}},
		"what does not name it":   {policies: []*v1alpha1.AccessPolicy{makePolicy(gate, "a", func(s *v1alpha1.AccessPolicySpec) { ceiling(s); s.Subjects = []v1alpha1.SubjectPattern{nobody} }), makePolicy(gate, "b", nil)}},
		"a ceiling besides":       {policies: []*v1alpha1.AccessPolicy{makePolicy(gate, "a", ceiling), makePolicy(gate, "b", nil)}, want: []string{"shop-gate/a permits at most 30m"}},
		"the root does not name":  {policies: []*v1alpha1.AccessPolicy{makePolicy(root, "all", subjects(nobody)), makePolicy(gate, "b", nil)}, want: []string{"cardea-system/all does not name ServiceAccount shop/agent"}},
		"a gate cannot loosen":    {policies: []*v1alpha1.AccessPolicy{makePolicy(root, "all", limits(v1alpha1.GrantLimits{MaxDuration: duration(time.Minute)})), makePolicy(gate, "b", subjects(anybody))}, want: []string{"cardea-system/all permits at most 1m"}},
		"a root demands":          {policies: []*v1alpha1.AccessPolicy{makePolicy(root, "all", func(s *v1alpha1.AccessPolicySpec) { ceiling(s); s.Limits.MaxDuration = duration(time.Hour) })}, want: []string{"no AccessPolicy names"}},
		"a root demand is met":    {policies: []*v1alpha1.AccessPolicy{makePolicy(root, "all", func(s *v1alpha1.AccessPolicySpec) { ceiling(s); s.Limits.MaxDuration = duration(time.Hour) }), makePolicy(gate, "b", nil)}},
		"the root alone names":    {policies: []*v1alpha1.AccessPolicy{makePolicy(root, "all", nil), makePolicy(gate, "b", subjects(nobody))}},
		"bad selector":            {policies: one(func(s *v1alpha1.AccessPolicySpec) { s.TargetSelector.MatchLabels = map[string]string{"a b": ""} }), want: []string{"does not compile and admits no grant: spec.targetSelector"}},
		"bad expression":          {policies: one(requires(v1alpha1.GrantRequirements{ReasonPattern: "("})), want: []string{"reasonPattern"}},
		"long expression":         {policies: one(requires(v1alpha1.GrantRequirements{ReasonPattern: strings.Repeat("a", 257)})), want: []string{"reasonPattern: must be at most 256 bytes"}},
		"unknown level":           {policies: one(postgres(v1alpha1.PostgresLimits{Access: "Some"})), want: []string{"access: \"Some\" is not"}},
		"unknown secrets":         {policies: one(limits(v1alpha1.GrantLimits{Kubernetes: &v1alpha1.KubernetesLimits{Secrets: "Some"}})), want: []string{"kubernetes.secrets"}},
		"unknown exec":            {policies: one(limits(v1alpha1.GrantLimits{Kubernetes: &v1alpha1.KubernetesLimits{Exec: "Some"}})), want: []string{"kubernetes.exec"}},
		"unknown terminal":        {policies: one(limits(v1alpha1.GrantLimits{SSH: &v1alpha1.SSHLimits{Terminal: "Some"}})), want: []string{"ssh.terminal"}},
		"unknown delivery":        {policies: one(requires(v1alpha1.GrantRequirements{Deliveries: []v1alpha1.CredentialDelivery{"Pigeon"}})), want: []string{"no way of delivery"}},
		"no sessions":             {policies: one(limits(v1alpha1.GrantLimits{MaxSessions: new(int32)})), want: []string{"maxSessions"}},
		"a limit of no time":      {policies: one(limits(v1alpha1.GrantLimits{MaxDuration: duration(0)})), want: []string{"maxDuration"}},
		"a start before":          {policies: one(limits(v1alpha1.GrantLimits{StartWithin: duration(-1)})), want: []string{"startWithin"}},
		"an idle second":          {policies: one(limits(v1alpha1.GrantLimits{IdleTimeout: duration(time.Second)})), want: []string{"idleTimeout"}},
		"unknown kind of subject": {policies: one(subjects(v1alpha1.SubjectPattern{Kind: "Pod", Names: []string{"*"}})), want: []string{"subjects[0].kind"}},
		"subject without names":   {policies: one(subjects(v1alpha1.SubjectPattern{Kind: v1alpha1.SubjectUser})), want: []string{"subjects[0].names"}},
		"account of no namespace": {policies: one(subjects(v1alpha1.SubjectPattern{Kind: v1alpha1.SubjectServiceAccount, Names: []string{"*"}})), want: []string{"subjects[0].namespaces"}},
		"says nothing":            {policies: one(subjects()), want: []string{"at least one of subjects, limits, requires and approvals"}},
		"nil":                     {policies: []*v1alpha1.AccessPolicy{nil}, want: []string{"could not be read"}},
		"undecodable":             {input: func(in *Input) { in.Undecodable = []Undecodable{{Kind: "AccessPolicy", Namespace: root, Name: "all"}} }, want: []string{"AccessPolicy all in namespace cardea-system has a field"}},
		"longest":                 {policies: one(limits(v1alpha1.GrantLimits{MaxDuration: duration(time.Hour)}))},
		"too long":                {policies: one(limits(v1alpha1.GrantLimits{MaxDuration: duration(time.Hour - time.Second)})), want: []string{"at most 59m59s, and spec.duration is 1h"}},
		"the shortest counts":     {policies: []*v1alpha1.AccessPolicy{makePolicy(gate, "a", limits(v1alpha1.GrantLimits{MaxDuration: duration(time.Minute)})), makePolicy(gate, "b", limits(v1alpha1.GrantLimits{MaxDuration: duration(2 * time.Hour)}))}, want: []string{"gate/a permits"}},
		"longest until":           {policies: one(limits(v1alpha1.GrantLimits{MaxDuration: duration(time.Hour)})), grant: until(time.Hour, nil)},
		"too long until":          {policies: one(limits(v1alpha1.GrantLimits{MaxDuration: duration(time.Hour)})), grant: until(time.Hour+time.Second, nil), want: []string{"would last 1h0m1s"}},
		"longest from a start":    {policies: one(limits(v1alpha1.GrantLimits{MaxDuration: duration(time.Hour)})), grant: until(3*time.Hour, at(2*time.Hour))},
		"too long from a start":   {policies: one(limits(v1alpha1.GrantLimits{MaxDuration: duration(time.Hour)})), grant: until(3*time.Hour, at(time.Hour)), want: []string{"would last 2h"}},
		"a start of long ago":     {policies: one(limits(v1alpha1.GrantLimits{MaxDuration: duration(time.Hour)})), grant: until(time.Hour, at(-time.Hour))},
		"until, creation unknown": {policies: one(limits(v1alpha1.GrantLimits{MaxDuration: duration(time.Hour)})), grant: func(g *v1alpha1.AccessGrant) { until(time.Hour, nil)(g); g.CreationTimestamp = metav1.Time{} }, want: []string{"the end of the grant is not known"}},
		"start at the latest":     {policies: one(limits(v1alpha1.GrantLimits{StartWithin: duration(time.Hour)})), grant: from(time.Hour)},
		"start too late":          {policies: one(limits(v1alpha1.GrantLimits{StartWithin: duration(time.Hour)})), grant: from(time.Hour + time.Second), want: []string{"a start at most 1h ahead"}},
		"no start ahead":          {policies: one(limits(v1alpha1.GrantLimits{StartWithin: duration(0)})), grant: from(time.Second), want: []string{"a start at most 0s ahead"}},
		"start, creation unknown": {policies: one(limits(v1alpha1.GrantLimits{StartWithin: duration(time.Hour)})), grant: func(g *v1alpha1.AccessGrant) { from(0)(g); g.CreationTimestamp = metav1.Time{} }, want: []string{"spec.startsAt is later"}},
		"level":                   {policies: one(postgres(v1alpha1.PostgresLimits{Access: v1alpha1.AccessReadOnly}))},
		"beyond the level":        {policies: one(postgres(v1alpha1.PostgresLimits{Access: v1alpha1.AccessReadOnly})), grant: func(g *v1alpha1.AccessGrant) { g.Spec.Postgres.Access = v1alpha1.AccessReadWrite }, want: []string{"access ReadOnly at most, and spec.postgres.access is ReadWrite"}},
		"databases":               {policies: one(postgres(v1alpha1.PostgresLimits{Databases: []string{"orders", "report_*"}}))},
		"a wider database":        {policies: one(postgres(v1alpha1.PostgresLimits{Databases: []string{"orders", "report_2*"}})), want: []string{`does not permit "report_*" of spec.postgres.databases`}},
		"all databases":           {policies: one(postgres(v1alpha1.PostgresLimits{Databases: []string{"*a*"}})), grant: func(g *v1alpha1.AccessGrant) { g.Spec.Postgres.Databases = []string{"*", "**", "a*", "*a"} }, want: []string{`"*"`, `"**"`}},
		"every sentence": {policies: one(func(s *v1alpha1.AccessPolicySpec) {
			s.Limits = &v1alpha1.GrantLimits{MaxDuration: duration(time.Minute), Postgres: &v1alpha1.PostgresLimits{Databases: []string{"x"}}}
			s.Requires = &v1alpha1.GrantRequirements{ReasonPattern: "^X"}
		}), want: []string{"at most 1m", `"orders"`, `"report_*"`, "reason that contains"}},
		"other protocols' limits":  {policies: one(limits(v1alpha1.GrantLimits{SSH: &v1alpha1.SSHLimits{Logins: []string{"x"}}, Kubernetes: &v1alpha1.KubernetesLimits{Namespaces: []string{"x"}}}))},
		"store":                    {policies: one(requires(v1alpha1.GrantRequirements{RecordingStores: []string{"other", "audit"}}))},
		"another store":            {policies: one(requires(v1alpha1.GrantRequirements{RecordingStores: []string{"worm"}})), want: []string{`recorded in one of ["worm"]`}},
		"no store":                 {policies: one(requires(v1alpha1.GrantRequirements{RecordingStores: []string{"audit"}})), target: func(t *v1alpha1.Target) { t.Spec.Recording = nil }, want: []string{"spec.recording.storeRef"}},
		"delivery":                 {policies: one(requires(v1alpha1.GrantRequirements{Deliveries: []v1alpha1.CredentialDelivery{v1alpha1.DeliverySecret}}))},
		"another delivery":         {policies: one(requires(v1alpha1.GrantRequirements{Deliveries: []v1alpha1.CredentialDelivery{v1alpha1.DeliverySecret}})), grant: func(g *v1alpha1.AccessGrant) { g.Spec.Credentials.Delivery = "" }, want: []string{"requires delivery by one of"}},
		"reason":                   {policies: one(requires(v1alpha1.GrantRequirements{ReasonPattern: "^OPS-[0-9]+$"}))},
		"another reason":           {policies: one(requires(v1alpha1.GrantRequirements{ReasonPattern: "^DEV-[0-9]+$"})), want: []string{`reason that contains "^DEV-[0-9]+$"`}},
		"sessions and idle limits": {policies: one(limits(v1alpha1.GrantLimits{MaxSessions: new(int32(3)), IdleTimeout: duration(time.Minute)}))},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := makeInput()
			in.AccessPolicies = tt.policies
			g, target := in.Grants[0], in.Targets[0]
			g.CreationTimestamp = metav1.NewTime(noon)
			if tt.grant != nil {
				tt.grant(g)
			}
			if tt.target != nil {
				tt.target(target)
			}
			if tt.input != nil {
				tt.input(&in)
			}
			_, violations := JudgeGrant(in, g, target)
			checkViolations(t, violations, tt.want)

			_, err := Compile(in).Admit(makeRequest(), noon)
			if refused := codeOf(err) == CodePolicy || codeOf(err) == CodeTargetShut; len(tt.want) > 0 && err == nil || len(tt.want) == 0 && refused {
				t.Errorf("Admit() = %v, want it to agree", err)
			}
		})
	}
}

func checkViolations(t *testing.T, got []Violation, want []string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("violations = %+v, want %q", got, want)
	}
	for i := range want {
		if !strings.Contains(got[i].Message, want[i]) || got[i].Policy.Kind != kindAccessPolicy {
			t.Errorf("violation = %+v, want %q", got[i], want[i])
		}
	}
}

func until(d time.Duration, starts *metav1.Time) func(*v1alpha1.AccessGrant) {
	return func(g *v1alpha1.AccessGrant) { g.Spec.Duration, g.Spec.ExpiresAt, g.Spec.StartsAt = nil, at(d), starts }
}

func from(d time.Duration) func(*v1alpha1.AccessGrant) {
	return func(g *v1alpha1.AccessGrant) { g.Spec.StartsAt = at(d) }
}

// TestJudgeOtherProtocols tries what policies refuse of grants to the other kinds of Targets.
func TestJudgeOtherProtocols(t *testing.T) {
	ssh := func(l v1alpha1.SSHLimits) v1alpha1.GrantLimits { return v1alpha1.GrantLimits{SSH: &l} }
	kubernetes := func(l v1alpha1.KubernetesLimits) v1alpha1.GrantLimits {
		return v1alpha1.GrantLimits{Kubernetes: &l}
	}
	permits := v1alpha1.SSHPermissions{Logins: []string{"deploy"}, Channels: []v1alpha1.SSHChannel{v1alpha1.SSHExec, v1alpha1.SSHShell}, Terminal: v1alpha1.SSHRaw}
	role := v1alpha1.KubernetesPermissions{Namespaces: []string{"shop", "kube-system"}, Secrets: v1alpha1.SecretsMasked, Exec: v1alpha1.ExecGated}
	tests := map[string]struct {
		limits v1alpha1.GrantLimits
		want   []string
	}{
		"ssh":              {ssh(v1alpha1.SSHLimits{Logins: []string{"de*"}, Channels: permits.Channels, Terminal: v1alpha1.SSHRaw}), nil},
		"login":            {ssh(v1alpha1.SSHLimits{Logins: []string{"root"}}), []string{`"deploy" of spec.ssh.logins`}},
		"channel":          {ssh(v1alpha1.SSHLimits{Channels: []v1alpha1.SSHChannel{v1alpha1.SSHExec}}), []string{"channel Shell"}},
		"terminal":         {ssh(v1alpha1.SSHLimits{Terminal: v1alpha1.SSHGated}), []string{"terminal Gated at most"}},
		"kubernetes":       {kubernetes(v1alpha1.KubernetesLimits{Namespaces: []string{"*"}, Secrets: v1alpha1.SecretsMasked, Exec: v1alpha1.ExecRaw}), nil},
		"namespace":        {kubernetes(v1alpha1.KubernetesLimits{Namespaces: []string{"shop*"}}), []string{`"kube-system" of spec.kubernetes.namespaces`}},
		"secrets":          {kubernetes(v1alpha1.KubernetesLimits{Secrets: v1alpha1.SecretsDenied}), []string{"secrets Denied at most"}},
		"exec":             {kubernetes(v1alpha1.KubernetesLimits{Exec: v1alpha1.ExecCommands}), []string{"exec Commands at most"}},
		"several of these": {kubernetes(v1alpha1.KubernetesLimits{Namespaces: []string{"x"}, Exec: v1alpha1.ExecDenied}), []string{`"shop"`, `"kube-system"`, "exec"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := makeInput()
			in.AccessPolicies = []*v1alpha1.AccessPolicy{makePolicy("shop-gate", "prod", limits(tt.limits))}
			g, target := in.Grants[0], in.Targets[0]
			g.Spec.Postgres, target.Spec.Postgres = nil, nil
			if tt.limits.SSH != nil {
				g.Spec.SSH, target.Spec.SSH = &permits, &v1alpha1.SSHTarget{}
			} else {
				g.Spec.Kubernetes, target.Spec.Kubernetes = &role, &v1alpha1.KubernetesTarget{}
			}
			_, violations := JudgeGrant(in, g, target)
			checkViolations(t, violations, tt.want)
		})
	}
}

// TestTerms takes the strictest of what several policies limit.
func TestTerms(t *testing.T) {
	in := makeInput()
	in.AccessPolicies = []*v1alpha1.AccessPolicy{
		makePolicy("shop-gate", "a", limits(v1alpha1.GrantLimits{MaxSessions: new(int32(3)), IdleTimeout: duration(time.Minute)})),
		makePolicy("cardea-system", "b", limits(v1alpha1.GrantLimits{MaxSessions: new(int32(2)), IdleTimeout: duration(time.Hour)})),
		makePolicy("shop-gate", "c", nil),
	}
	in.Targets[0].Spec.IdleTimeout = duration(5 * time.Minute)
	a, err := Compile(in).Admit(makeRequest(), noon)
	if err != nil {
		t.Fatal(err)
	}
	if a.MaxSessions != 2 || a.IdleTimeout != time.Minute {
		t.Errorf("terms = %d, %s", a.MaxSessions, a.IdleTimeout)
	}
	terms, _ := JudgeGrant(in, in.Grants[0], in.Targets[0])
	ref := func(namespace, name string) v1alpha1.RuleReference {
		return v1alpha1.RuleReference{Kind: "AccessPolicy", Namespace: namespace, Name: name}
	}
	if diff := cmp.Diff([]v1alpha1.RuleReference{ref("cardea-system", "b"), ref("shop-gate", "a"), ref("shop-gate", "c")}, terms.Policies); diff != "" {
		t.Errorf("policies (-want +got):\n%s", diff)
	}
	in.Targets[0].Spec.IdleTimeout = duration(30 * time.Second)
	if a, err = Compile(in).Admit(makeRequest(), noon); err != nil || a.IdleTimeout != 30*time.Second {
		t.Errorf("idle = %v, %v, want the Target's", a, err)
	}
}

// TestTightened ends what no longer fits, although the operator has not looked at it.
func TestTightened(t *testing.T) {
	in := makeInput()
	in.AccessPolicies = []*v1alpha1.AccessPolicy{makePolicy("shop-gate", "prod", limits(v1alpha1.GrantLimits{MaxDuration: duration(time.Hour)}))}
	if _, err := Compile(in).Admit(makeRequest(), noon); err != nil {
		t.Fatal(err)
	}
	in.AccessPolicies[0].Spec.Limits.MaxDuration = duration(30 * time.Minute)
	if _, err := Compile(in).Admit(makeRequest(), noon); codeOf(err) != CodePolicy {
		t.Errorf("err = %v, want that the policy refuses", err)
	}
	// Nor does the operator's answer hide which policy it is.
	in.Grants[0].Status.Conditions[0].Status = metav1.ConditionFalse
	if _, err := Compile(in).Admit(makeRequest(), noon); codeOf(err) != CodePolicy {
		t.Errorf("err = %v, want that it names the policy", err)
	}
	if a := AssessGrant(in, in.Grants[0]); a.OK || a.Reason != v1alpha1.ReasonPolicyViolated || !strings.Contains(a.Message, "at most 30m") {
		t.Errorf("AssessGrant() = %+v", a)
	}
}

// TestBrokenPolicyShuts shuts what a policy selects that does not compile, and every Target
// for one whose selector is not known.
func TestBrokenPolicyShuts(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*v1alpha1.AccessPolicySpec)
		shut   bool
	}{
		"selects it": {func(s *v1alpha1.AccessPolicySpec) { s.Requires = &v1alpha1.GrantRequirements{ReasonPattern: "("} }, true},
		"selects another": {func(s *v1alpha1.AccessPolicySpec) {
			s.TargetSelector.MatchLabels, s.Requires = map[string]string{"tier": "test"}, &v1alpha1.GrantRequirements{ReasonPattern: "("}
		}, false},
		"selects nobody knows what": {func(s *v1alpha1.AccessPolicySpec) { s.TargetSelector.MatchLabels = map[string]string{"a b": ""} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			in := makeInput()
			in.AccessPolicies = []*v1alpha1.AccessPolicy{makePolicy("shop-gate", "prod", tt.change)}
			if a := AssessAccessPolicy(in.AccessPolicies[0]); a.OK {
				t.Error("the policy compiles")
			}
			a := AssessTarget(in, in.Targets[0])
			if a.OK == tt.shut || tt.shut && a.Reason != v1alpha1.ReasonRuleInvalid {
				t.Errorf("AssessTarget() = %+v", a)
			}
			if _, err := Compile(in).Admit(makeRequest(), noon); tt.shut != (codeOf(err) == CodeTargetShut) {
				t.Errorf("Admit() = %v", err)
			}
		})
	}
}
