package policy

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

func group(name string) v1alpha1.Subject {
	return v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: name}
}

func quorum(required int32, approvers ...v1alpha1.Subject) v1alpha1.ApprovalQuorum {
	return v1alpha1.ApprovalQuorum{Required: required, Approvers: approvers}
}

func yes(approver string, groups ...string) v1alpha1.ApprovalDecision {
	return v1alpha1.ApprovalDecision{Approver: approver, Groups: groups, Decision: v1alpha1.DecisionApproved}
}

// G5: enough distinct approvers who may approve, none of whom is a party.
func TestMet(t *testing.T) {
	robot := v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "ops", Name: "robot"}
	all := func(qs ...v1alpha1.ApprovalQuorum) []v1alpha1.ApprovalNeed {
		var needs []v1alpha1.ApprovalNeed
		for _, q := range qs {
			needs = append(needs, v1alpha1.ApprovalNeed{AnyOf: []v1alpha1.ApprovalQuorum{q}})
		}
		return needs
	}
	dba, security := quorum(1, group("dba")), quorum(1, group("security"))
	tests := map[string]struct {
		needs     []v1alpha1.ApprovalNeed
		decisions []v1alpha1.ApprovalDecision
		subject   v1alpha1.Subject
		want      bool
	}{
		"nobody":                    {needs: all(dba)},
		"one of the group":          {needs: all(dba), decisions: []v1alpha1.ApprovalDecision{yes("dora", "dba")}, want: true},
		"one of another":            {needs: all(dba), decisions: []v1alpha1.ApprovalDecision{yes("eve", "dev")}},
		"the same twice":            {needs: all(quorum(2, group("dba"))), decisions: []v1alpha1.ApprovalDecision{yes("dora", "dba"), yes("dora", "dba")}},
		"two":                       {needs: all(quorum(2, group("dba"))), decisions: []v1alpha1.ApprovalDecision{yes("dora", "dba"), yes("dan", "dba")}, want: true},
		"one denies":                {needs: all(dba), decisions: []v1alpha1.ApprovalDecision{yes("dora", "dba"), {Approver: "dan", Decision: v1alpha1.DecisionDenied}}},
		"one decides nothing known": {needs: all(dba), decisions: []v1alpha1.ApprovalDecision{yes("dora", "dba"), {Approver: "dan", Decision: "Abstained"}}},
		"half of all":               {needs: all(dba, security), decisions: []v1alpha1.ApprovalDecision{yes("dora", "dba")}},
		"all":                       {needs: all(dba, security), decisions: []v1alpha1.ApprovalDecision{yes("dora", "dba"), yes("sue", "security")}, want: true},
		"one for both":              {needs: all(dba, security), decisions: []v1alpha1.ApprovalDecision{yes("dora", "dba", "security")}, want: true},
		"one of several":            {needs: []v1alpha1.ApprovalNeed{{AnyOf: []v1alpha1.ApprovalQuorum{quorum(2, group("dba")), security}}}, decisions: []v1alpha1.ApprovalDecision{yes("sue", "security")}, want: true},
		"none of several":           {needs: []v1alpha1.ApprovalNeed{{AnyOf: []v1alpha1.ApprovalQuorum{quorum(2, group("dba")), security}}}, decisions: []v1alpha1.ApprovalDecision{yes("dora", "dba")}},
		"a need of nothing":         {needs: []v1alpha1.ApprovalNeed{{}}, decisions: []v1alpha1.ApprovalDecision{yes("dora", "dba")}},
		"a quorum of none":          {needs: all(quorum(0, group("dba")))},
		"the subject":               {needs: all(dba), decisions: []v1alpha1.ApprovalDecision{yes("una", "dba")}, subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "una"}},
		"the creator":               {needs: all(dba), decisions: []v1alpha1.ApprovalDecision{yes("alice", "dba")}},
		"a member of the subject":   {needs: all(dba), decisions: []v1alpha1.ApprovalDecision{yes("dora", "dba", "on-call")}, subject: group("on-call")},
		"the product":               {needs: all(dba), decisions: []v1alpha1.ApprovalDecision{yes("cardea:grant:x", "dba")}},
		"anonymous":                 {needs: all(dba), decisions: []v1alpha1.ApprovalDecision{yes("system:anonymous", "dba")}},
		"no name":                   {needs: all(dba), decisions: []v1alpha1.ApprovalDecision{yes("", "dba")}},
		"an account by its group":   {needs: all(dba), decisions: []v1alpha1.ApprovalDecision{yes("system:serviceaccount:ops:robot", "dba")}},
		"an account that is named":  {needs: all(quorum(1, robot)), decisions: []v1alpha1.ApprovalDecision{yes("system:serviceaccount:ops:robot")}, want: true},
		"an account of another":     {needs: all(quorum(1, robot)), decisions: []v1alpha1.ApprovalDecision{yes("system:serviceaccount:shop:robot")}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Met(tt.needs, tt.decisions, Parties{Subject: tt.subject, Creator: "alice"}); got != tt.want {
				t.Errorf("Met() = %v, want %v", got, tt.want)
			}
		})
	}
}

// TestApprovalBinds tries to use an approval for anything but what was approved, in the proxy.
func TestApprovalBinds(t *testing.T) {
	dba := func(s *v1alpha1.AccessPolicySpec) {
		s.Approvals = &v1alpha1.GrantApprovals{AllOf: []v1alpha1.ApprovalQuorum{quorum(1, group("dba"))}, Timeout: metav1.Duration{Duration: time.Hour}}
	}
	tests := map[string]struct {
		grant  func(*v1alpha1.AccessGrant)
		target func(*v1alpha1.Target)
		policy func(*v1alpha1.AccessPolicySpec)
		want   bool
	}{
		"as approved":                {want: true},
		"nothing approved":           {grant: func(g *v1alpha1.AccessGrant) { g.Status.Approval = nil }},
		"pending":                    {grant: func(g *v1alpha1.AccessGrant) { g.Status.Approval.Outcome = v1alpha1.ApprovalPending }},
		"denied":                     {grant: func(g *v1alpha1.AccessGrant) { g.Status.Approval.Outcome = v1alpha1.ApprovalDenied }},
		"no outcome":                 {grant: func(g *v1alpha1.AccessGrant) { g.Status.Approval.Outcome = "" }},
		"no decisions":               {grant: func(g *v1alpha1.AccessGrant) { g.Status.Approval.Decisions = nil }},
		"a denial among them":        {grant: func(g *v1alpha1.AccessGrant) { g.Status.Approval.Decisions[0].Decision = v1alpha1.DecisionDenied }},
		"a party's":                  {grant: func(g *v1alpha1.AccessGrant) { g.Annotations = map[string]string{v1alpha1.AnnotationCreatedBy: "dora"} }},
		"another generation":         {grant: func(g *v1alpha1.AccessGrant) { g.Generation++; g.Status.Conditions[0].ObservedGeneration++ }},
		"another reason":             {grant: func(g *v1alpha1.AccessGrant) { g.Spec.Reason = "OPS-2" }},
		"another level":              {grant: func(g *v1alpha1.AccessGrant) { g.Spec.Postgres.Access = v1alpha1.AccessFull }},
		"another database":           {grant: func(g *v1alpha1.AccessGrant) { g.Spec.Postgres.Databases = []string{"orders", "payroll"} }},
		"a shorter time":             {grant: func(g *v1alpha1.AccessGrant) { g.Spec.Duration = duration(59 * time.Minute) }},
		"another Target":             {target: func(t *v1alpha1.Target) { t.UID = "other" }},
		"a Target changed":           {target: func(t *v1alpha1.Target) { t.Generation++ }},
		"what nobody could see":      {grant: func(g *v1alpha1.AccessGrant) { g.Spec.Reason = "OPS-1\u202e" }},
		"a policy that wants two":    {policy: func(s *v1alpha1.AccessPolicySpec) { s.Approvals.AllOf[0].Required = 2 }},
		"a policy of other people":   {policy: func(s *v1alpha1.AccessPolicySpec) { s.Approvals.AllOf[0].Approvers[0].Name = "security" }},
		"a policy that wants none":   {policy: func(s *v1alpha1.AccessPolicySpec) { s.Approvals = nil }, grant: func(g *v1alpha1.AccessGrant) { g.Status.Approval = nil }, want: true},
		"a policy that wants less":   {policy: func(s *v1alpha1.AccessPolicySpec) { s.Approvals.AnyOf = s.Approvals.AllOf }, want: true},
		"a policy that is no quorum": {policy: func(s *v1alpha1.AccessPolicySpec) { s.Approvals.AllOf[0].Required = 0 }},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			in := makeInput()
			g := in.Grants[0]
			_, digest, err := Asked(g, in.Targets[0])
			if err != nil {
				t.Fatal(err)
			}
			g.Status.Approval = &v1alpha1.GrantApproval{Request: "r", Digest: digest, Outcome: v1alpha1.ApprovalApproved, Decisions: []v1alpha1.ApprovalDecision{yes("dora", "dba")}}
			in.AccessPolicies = []*v1alpha1.AccessPolicy{makePolicy("shop-gate", "prod", dba)}
			if tt.grant != nil {
				tt.grant(g)
			}
			if tt.target != nil {
				tt.target(in.Targets[0])
			}
			if tt.policy != nil {
				tt.policy(&in.AccessPolicies[0].Spec)
			}
			if _, err := Compile(in).Admit(makeRequest(), noon); (err == nil) != tt.want {
				t.Errorf("Admit() = %v, want success: %v", err, tt.want)
			}
		})
	}
}

// TestApprovalsThatDoNotCompile tries approvals that could never be met, or that are none.
func TestApprovalsThatDoNotCompile(t *testing.T) {
	user := v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "dora"}
	tests := map[string]struct {
		approvals v1alpha1.GrantApprovals
		want      string
	}{
		"none":                {v1alpha1.GrantApprovals{}, "one of them must be set"},
		"nobody required":     {v1alpha1.GrantApprovals{AllOf: []v1alpha1.ApprovalQuorum{quorum(0, user)}}, "allOf[0]: required must be between 1 and 8"},
		"too many required":   {v1alpha1.GrantApprovals{AllOf: []v1alpha1.ApprovalQuorum{quorum(9, group("dba"))}}, "required must be between 1 and 8"},
		"more than there are": {v1alpha1.GrantApprovals{AnyOf: []v1alpha1.ApprovalQuorum{quorum(2, user, user)}}, "anyOf[0]: fewer approvers are named than required"},
		"no approvers":        {v1alpha1.GrantApprovals{AllOf: []v1alpha1.ApprovalQuorum{quorum(1)}}, "approvers must have 1 to 32 items"},
		"an unknown kind":     {v1alpha1.GrantApprovals{AllOf: []v1alpha1.ApprovalQuorum{quorum(1, v1alpha1.Subject{Kind: "Pod", Name: "x"})}}, "is not ServiceAccount, User or Group"},
		"no time":             {v1alpha1.GrantApprovals{AllOf: []v1alpha1.ApprovalQuorum{quorum(1, user)}, Timeout: metav1.Duration{Duration: time.Second}}, "timeout: must be between 1m and 720h"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if tt.approvals.Timeout.Duration == 0 {
				tt.approvals.Timeout.Duration = time.Hour
			}
			a := AssessAccessPolicy(makePolicy("shop-gate", "prod", func(s *v1alpha1.AccessPolicySpec) { s.Approvals = &tt.approvals }))
			if a.OK || !strings.Contains(a.Message, tt.want) {
				t.Errorf("AssessAccessPolicy() = %+v, want %q", a, tt.want)
			}
		})
	}
}
