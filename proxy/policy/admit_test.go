package policy

import (
	"errors"
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

func codeOf(err error) Code {
	r := new(Refusal)
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}

func TestAdmit(t *testing.T) {
	a, err := Compile(makeInput()).Admit(makeRequest(), noon)
	if err != nil {
		t.Fatal(err)
	}
	if !a.ExpiresAt.Equal(noon.Add(30 * time.Minute)) {
		t.Errorf("ExpiresAt = %v, want the credential's", a.ExpiresAt)
	}
	if a.Store.Name != "audit" || a.Target.Name != "orders-db" || a.Grant.Name != "agent" || a.Version == "" || a.Masks.Empty() {
		t.Errorf("Admit() = %+v", a)
	}
	in := makeInput()
	in.Targets[0].Spec.Recording = nil
	if a, err = Compile(in).Admit(makeRequest(), noon); err != nil || a.Store == nil || *a.Store.Spec.Responses.MaxRows != 100 {
		t.Errorf("without a store: %+v, %v", a, err)
	}
}

func TestAdmitRefuses(t *testing.T) {
	condition := func(g *v1alpha1.AccessGrant, i int) *metav1.Condition { return &g.Status.Conditions[i] }
	tests := map[string]struct {
		grant   func(*v1alpha1.AccessGrant)
		target  func(*v1alpha1.Target)
		input   func(*Input)
		request func(*Request)
		now     time.Duration
		want    Code
	}{
		"another grant":         {request: func(r *Request) { r.Grant = "other" }, want: CodeGrantRevoked},
		"no grant":              {input: func(in *Input) { in.Grants = nil }, want: CodeGrantRevoked},
		"grant made anew":       {grant: func(g *v1alpha1.AccessGrant) { g.UID = "new" }, want: CodeGrantRevoked},
		"no UID":                {grant: func(g *v1alpha1.AccessGrant) { g.UID = "" }, request: func(r *Request) { r.GrantUID = "" }, want: CodeGrantRevoked},
		"grant of another gate": {grant: func(g *v1alpha1.AccessGrant) { g.Namespace = "other" }, want: CodeGrantRevoked},
		"grant being deleted":   {grant: func(g *v1alpha1.AccessGrant) { g.DeletionTimestamp = at(0) }, want: CodeGrantRevoked},
		"grant there twice":     {input: func(in *Input) { in.Grants = append(in.Grants, makeGrant()) }, want: CodeGrantInactive},
		"grant nil":             {input: func(in *Input) { in.Grants[0] = nil }, want: CodeGrantRevoked},
		"grant undecodable":     {input: func(in *Input) { in.Undecodable = []Undecodable{{Kind: "AccessGrant", Name: "agent"}} }, want: CodeGrantInactive},
		"only undecodable":      {input: func(in *Input) { in.Grants = nil; in.Undecodable = []Undecodable{{Kind: "AccessGrant", Name: "agent"}} }, want: CodeGrantInactive},
		"revoked":               {grant: func(g *v1alpha1.AccessGrant) { g.Spec.DesiredState = v1alpha1.GrantRevoked }, want: CodeGrantRevoked},
		"no desired state":      {grant: func(g *v1alpha1.AccessGrant) { g.Spec.DesiredState = "" }, want: CodeGrantInactive},
		"unknown desired state": {grant: func(g *v1alpha1.AccessGrant) { g.Spec.DesiredState = "active" }, want: CodeGrantInactive},
		"no delivery":           {grant: func(g *v1alpha1.AccessGrant) { g.Spec.Credentials.Delivery = "" }, want: CodeGrantInactive},
		"a Group": {grant: func(g *v1alpha1.AccessGrant) {
			g.Spec.Subject = v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: "g"}
		}, want: CodeGrantInactive},
		"no subject":               {grant: func(g *v1alpha1.AccessGrant) { g.Spec.Subject = v1alpha1.Subject{} }, want: CodeGrantInactive},
		"no end":                   {grant: func(g *v1alpha1.AccessGrant) { g.Spec.Duration = nil }, want: CodeGrantInactive},
		"two ends":                 {grant: func(g *v1alpha1.AccessGrant) { g.Spec.ExpiresAt = at(time.Hour) }, want: CodeGrantInactive},
		"no status":                {grant: func(g *v1alpha1.AccessGrant) { g.Status = v1alpha1.AccessGrantStatus{} }, want: CodeGrantInactive},
		"not accepted":             {grant: func(g *v1alpha1.AccessGrant) { condition(g, 0).Status = metav1.ConditionFalse }, want: CodeGrantInactive},
		"acceptance unknown":       {grant: func(g *v1alpha1.AccessGrant) { condition(g, 0).Status = metav1.ConditionUnknown }, want: CodeGrantInactive},
		"accepted before a change": {grant: func(g *v1alpha1.AccessGrant) { g.Generation++ }, want: CodeGrantInactive},
		"not approved":             {grant: func(g *v1alpha1.AccessGrant) { condition(g, 1).Status = metav1.ConditionUnknown }, want: CodeGrantInactive},
		"no approval":              {grant: func(g *v1alpha1.AccessGrant) { g.Status.Conditions = g.Status.Conditions[:1] }, want: CodeGrantInactive},
		"no approval time":         {grant: func(g *v1alpha1.AccessGrant) { g.Status.ApprovedAt = nil }, want: CodeGrantInactive},
		"no end in status":         {grant: func(g *v1alpha1.AccessGrant) { g.Status.ExpiresAt = nil }, want: CodeGrantInactive},
		"no start in status":       {grant: func(g *v1alpha1.AccessGrant) { g.Status.StartsAt = nil }, want: CodeGrantInactive},
		"not started":              {grant: func(g *v1alpha1.AccessGrant) { g.Status.StartsAt = at(time.Second) }, want: CodeGrantInactive},
		"spec not started":         {grant: func(g *v1alpha1.AccessGrant) { g.Spec.StartsAt = at(time.Second) }, want: CodeGrantInactive},
		"expired":                  {now: 50 * time.Minute, want: CodeGrantExpired},
		"expired in status":        {grant: func(g *v1alpha1.AccessGrant) { g.Status.ExpiresAt = at(0) }, want: CodeGrantExpired},
		"expired in spec": {grant: func(g *v1alpha1.AccessGrant) {
			g.Spec.Duration, g.Spec.ExpiresAt = nil, at(0)
		}, want: CodeGrantExpired},
		"duration shrunk":        {grant: func(g *v1alpha1.AccessGrant) { g.Spec.Duration = &metav1.Duration{Duration: 10 * time.Minute} }, want: CodeGrantExpired},
		"negative duration":      {grant: func(g *v1alpha1.AccessGrant) { g.Spec.Duration = &metav1.Duration{Duration: -1} }, want: CodeGrantInactive},
		"another credential":     {request: func(r *Request) { r.CredentialID = "c0" }, want: CodeAuthentication},
		"no credential":          {request: func(r *Request) { r.CredentialID = "" }, want: CodeAuthentication},
		"credential removed":     {grant: func(g *v1alpha1.AccessGrant) { g.Status.Verifiers = nil }, want: CodeAuthentication},
		"credential expired":     {now: 30 * time.Minute, want: CodeAuthentication},
		"credential too early":   {now: -2 * time.Minute, want: CodeAuthentication},
		"credential without end": {grant: func(g *v1alpha1.AccessGrant) { g.Status.Verifiers[0].ExpiresAt = metav1.Time{} }, want: CodeAuthentication},
		"another engine":         {request: func(r *Request) { r.Engine = "mysql" }, want: CodeNotPermitted},
		"no engine":              {request: func(r *Request) { r.Engine = "" }, want: CodeNotPermitted},
		"no permissions":         {grant: func(g *v1alpha1.AccessGrant) { g.Spec.Postgres = nil }, want: CodeNotPermitted},
		"no databases":           {grant: func(g *v1alpha1.AccessGrant) { g.Spec.Postgres.Databases = nil }, want: CodeGrantInactive},
		"no access level":        {grant: func(g *v1alpha1.AccessGrant) { g.Spec.Postgres.Access = "" }, want: CodeGrantInactive},
		"another database":       {request: func(r *Request) { r.Database = "postgres" }, want: CodeNotPermitted},
		"another case":           {request: func(r *Request) { r.Database = "Orders" }, want: CodeNotPermitted},
		"no database":            {request: func(r *Request) { r.Database = "" }, want: CodeNotPermitted},
		"no regular expression":  {grant: func(g *v1alpha1.AccessGrant) { g.Spec.Postgres.Databases = []string{"order.", ".*", "[a-z]*"} }, want: CodeNotPermitted},
		"name that is cut":       {request: func(r *Request) { r.Database = "report_" + fmt.Sprintf("%057d", 0) }, want: CodeNotPermitted},
		"no target":              {input: func(in *Input) { in.Targets = nil }, want: CodeTargetShut},
		"target nil":             {input: func(in *Input) { in.Targets[0] = nil }, want: CodeTargetShut},
		"target there twice":     {input: func(in *Input) { in.Targets = append(in.Targets, makeTarget()) }, want: CodeTargetShut},
		"target of another gate": {target: func(g *v1alpha1.Target) { g.Namespace = "other" }, want: CodeTargetShut},
		"target without UID":     {target: func(g *v1alpha1.Target) { g.UID = "" }, want: CodeTargetShut},
		"target being deleted":   {target: func(g *v1alpha1.Target) { g.DeletionTimestamp = at(0) }, want: CodeTargetShut},
		"target undecodable":     {input: func(in *Input) { in.Undecodable = []Undecodable{{Kind: "Target", Name: "orders-db"}} }, want: CodeTargetShut},
		"target of no kind":      {target: func(g *v1alpha1.Target) { g.Spec.Postgres = nil }, want: CodeTargetShut},
		"no host":                {target: func(g *v1alpha1.Target) { g.Spec.Postgres.Host = "" }, want: CodeTargetShut},
		"no port":                {target: func(g *v1alpha1.Target) { g.Spec.Postgres.Port = 0 }, want: CodeTargetShut},
		"no TLS mode":            {target: func(g *v1alpha1.Target) { g.Spec.Postgres.TLS.Mode = "" }, want: CodeTargetShut},
		"no login":               {target: func(g *v1alpha1.Target) { g.Spec.Postgres.Login = nil }, want: CodeTargetShut},
		"unknown baseline rule":  {target: func(g *v1alpha1.Target) { g.Spec.Baseline = &v1alpha1.Baseline{Disable: []string{"x"}} }, want: CodeTargetShut},
		"unknown requirement":    {target: func(g *v1alpha1.Target) { g.Spec.Requires = []v1alpha1.RuleKind{"Magic"} }, want: CodeTargetShut},
		"no masking rule":        {input: func(in *Input) { in.MaskingRules = nil }, want: CodeTargetShut},
		"no command rule":        {input: func(in *Input) { in.CommandRules = nil }, want: CodeTargetShut},
		"rule selects another":   {target: func(g *v1alpha1.Target) { g.Labels = nil }, want: CodeTargetShut},
		"rule of another gate":   {input: func(in *Input) { in.MaskingRules[0].Namespace = "other" }, want: CodeTargetShut},
		"masking rule broken":    {input: func(in *Input) { in.MaskingRules[0].Spec.Columns[0].Names = []string{"email"} }, want: CodeTargetShut},
		"root rule broken": {input: func(in *Input) {
			in.MaskingRules = append(in.MaskingRules, makeMaskingRule("cardea-system", "x", "bad"))
		}, want: CodeTargetShut},
		"command rule broken": {input: func(in *Input) { in.CommandRules[0].Spec.Approval = nil }, want: CodeTargetShut},
		"selector broken":     {input: func(in *Input) { in.CommandRules[0].Spec.TargetSelector = badSelector() }, want: CodeTargetShut},
		"rule nil":            {input: func(in *Input) { in.CommandRules = append(in.CommandRules, nil) }, want: CodeTargetShut},
		"rule undecodable": {input: func(in *Input) {
			in.Undecodable = []Undecodable{{Kind: "MaskingRule", Namespace: "cardea-system", Name: "x"}}
		}, want: CodeTargetShut},
		"unknown undecodable":  {input: func(in *Input) { in.Undecodable = []Undecodable{{Kind: "AccessPolicy", Name: "x"}} }, want: CodeTargetShut},
		"no store":             {input: func(in *Input) { in.Stores = nil }, want: CodeTargetShut},
		"store not ready":      {input: func(in *Input) { in.Stores[0].Status.Conditions[0].Status = metav1.ConditionFalse }, want: CodeTargetShut},
		"store without status": {input: func(in *Input) { in.Stores[0].Status.Conditions = nil }, want: CodeTargetShut},
		"store of no kind":     {input: func(in *Input) { in.Stores[0].Spec.ConfigMap = nil }, want: CodeTargetShut},
		"store undecodable":    {input: func(in *Input) { in.Undecodable = []Undecodable{{Kind: "RecordingStore", Name: "audit"}} }, want: CodeTargetShut},
		"lock undecodable":     {input: func(in *Input) { in.Undecodable = []Undecodable{{Kind: "AccessLock", Name: "x"}} }, want: CodeLocked},
		"lock nil":             {input: func(in *Input) { in.Locks = []*v1alpha1.AccessLock{nil} }, want: CodeLocked},
		"no namespace":         {input: func(in *Input) { in.Namespace = "" }, want: CodeStale},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			in, r := makeInput(), makeRequest()
			if tc.grant != nil {
				tc.grant(in.Grants[0])
			}
			if tc.target != nil {
				tc.target(in.Targets[0])
			}
			if tc.input != nil {
				tc.input(&in)
			}
			if tc.request != nil {
				tc.request(&r)
			}
			a, err := Compile(in).Admit(r, noon.Add(tc.now))
			if a != nil || codeOf(err) != tc.want {
				t.Fatalf("Admit() = %v, %v; want %s", a, err, tc.want)
			}
			if refusal := new(Refusal); errors.As(err, &refusal) && (refusal.Message == "" || refusal.Hint == "") {
				t.Errorf("the refusal does not say what to do: %+v", refusal)
			}
		})
	}
}

func badSelector() metav1.LabelSelector {
	return metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}}
}

func TestLocks(t *testing.T) {
	all := &metav1.LabelSelector{}
	team := func(v string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"team": v}}
	}
	tier := func(v string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{"tier": v}}
	}
	bad := badSelector()
	subject := func(k v1alpha1.SubjectKind, ns, name string) []v1alpha1.Subject {
		return []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "nobody"}, {Kind: k, Namespace: ns, Name: name}}
	}
	tests := map[string]struct {
		namespace string
		spec      v1alpha1.AccessLockSpec
		want      bool
	}{
		"all targets":           {"shop-gate", v1alpha1.AccessLockSpec{TargetSelector: all}, true},
		"from the root":         {"cardea-system", v1alpha1.AccessLockSpec{GrantSelector: all}, true},
		"of another gate":       {"other", v1alpha1.AccessLockSpec{TargetSelector: all}, false},
		"the target":            {"shop-gate", v1alpha1.AccessLockSpec{TargetSelector: tier("prod")}, true},
		"another target":        {"shop-gate", v1alpha1.AccessLockSpec{TargetSelector: tier("dev")}, false},
		"the grant":             {"shop-gate", v1alpha1.AccessLockSpec{GrantSelector: team("a")}, true},
		"another grant":         {"shop-gate", v1alpha1.AccessLockSpec{GrantSelector: team("b")}, false},
		"the subject":           {"shop-gate", v1alpha1.AccessLockSpec{Subjects: subject(v1alpha1.SubjectServiceAccount, "shop", "agent")}, true},
		"the subject as a user": {"shop-gate", v1alpha1.AccessLockSpec{Subjects: subject(v1alpha1.SubjectUser, "", "system:serviceaccount:shop:agent")}, true},
		"its namespace":         {"shop-gate", v1alpha1.AccessLockSpec{Subjects: subject(v1alpha1.SubjectGroup, "", "system:serviceaccounts:shop")}, true},
		"every ServiceAccount":  {"shop-gate", v1alpha1.AccessLockSpec{Subjects: subject(v1alpha1.SubjectGroup, "", "system:serviceaccounts")}, true},
		"everybody":             {"shop-gate", v1alpha1.AccessLockSpec{Subjects: subject(v1alpha1.SubjectGroup, "", "system:authenticated")}, true},
		"another subject":       {"shop-gate", v1alpha1.AccessLockSpec{Subjects: subject(v1alpha1.SubjectServiceAccount, "shop", "other")}, false},
		"all of several":        {"shop-gate", v1alpha1.AccessLockSpec{TargetSelector: all, GrantSelector: team("a"), Subjects: subject(v1alpha1.SubjectServiceAccount, "shop", "agent")}, true},
		"not all of several":    {"shop-gate", v1alpha1.AccessLockSpec{TargetSelector: all, GrantSelector: team("b")}, false},
		"nothing set":           {"shop-gate", v1alpha1.AccessLockSpec{}, true},
		"broken selector":       {"shop-gate", v1alpha1.AccessLockSpec{TargetSelector: &bad}, true},
		"broken grant selector": {"shop-gate", v1alpha1.AccessLockSpec{TargetSelector: tier("dev"), GrantSelector: &bad}, true},
		"broken subject":        {"shop-gate", v1alpha1.AccessLockSpec{Subjects: []v1alpha1.Subject{{Kind: "Robot", Name: "x"}}}, true},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			in := makeInput()
			in.Locks = []*v1alpha1.AccessLock{{ObjectMeta: metav1.ObjectMeta{Namespace: tc.namespace, Name: "l"}, Spec: tc.spec}}
			_, err := Compile(in).Admit(makeRequest(), noon)
			if got := codeOf(err) == CodeLocked; got != tc.want || !tc.want && err != nil {
				t.Errorf("Admit() = %v, want locked %t", err, tc.want)
			}
		})
	}
}

func TestZeroValuesDeny(t *testing.T) {
	var s Snapshot
	if a, err := s.Admit(makeRequest(), noon); a != nil || err == nil {
		t.Errorf("the zero Snapshot admits: %v", a)
	}
	if !s.Terminated("x") || s.Verifiers("agent", noon) != nil {
		t.Error("the zero Snapshot knows sessions or credentials")
	}
	if a, err := Compile(makeInput()).Admit(Request{}, noon); a != nil || err == nil {
		t.Errorf("the zero Request is admitted: %v", a)
	}
	if (Decision{}).Action != Deny {
		t.Error("the zero Decision does not deny")
	}
	for name, as := range map[string]Assessment{"target": AssessTarget(makeInput(), nil), "grant": AssessGrant(makeInput(), nil), "masking rule": AssessMaskingRule(nil), "command rule": AssessCommandRule(nil),
		"zero target": AssessTarget(makeInput(), &v1alpha1.Target{}), "zero grant": AssessGrant(makeInput(), &v1alpha1.AccessGrant{}),
		"zero masking rule": AssessMaskingRule(&v1alpha1.MaskingRule{}), "zero command rule": AssessCommandRule(&v1alpha1.CommandRule{})} {
		if as.OK || as.Reason == "" || as.Message == "" {
			t.Errorf("%s: %+v", name, as)
		}
	}
}

func TestVerifiersAndTerminated(t *testing.T) {
	in := makeInput()
	in.Terminated = []string{"s1"}
	in.Undecodable = []Undecodable{{Kind: "Session", Name: "s2"}}
	s := Compile(in)
	for name, want := range map[string]bool{"s1": true, "s2": true, "s3": false} {
		if s.Terminated(name) != want {
			t.Errorf("Terminated(%s) = %t", name, !want)
		}
	}
	if vs := s.Verifiers("agent", noon); len(vs) != 1 || vs[0].ID != "c1" || vs[0].GrantUID != "grant-uid" || vs[0].Grant != "agent" {
		t.Errorf("Verifiers() = %v", vs)
	}
	if vs := s.Verifiers("agent", noon.Add(time.Hour)); vs != nil {
		t.Errorf("expired: %v", vs)
	}
	if vs := s.Verifiers("x", noon); vs != nil {
		t.Errorf("unknown: %v", vs)
	}
}
