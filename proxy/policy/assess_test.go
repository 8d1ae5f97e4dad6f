package policy

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

func TestAssessTarget(t *testing.T) {
	tests := map[string]struct {
		change  func(*Input)
		reason  string
		message string
	}{
		"good":            {func(*Input) {}, v1alpha1.ReasonAccepted, ""},
		"no masking rule": {func(in *Input) { in.MaskingRules = nil }, v1alpha1.ReasonRuleMissing, "requires a MaskingRule"},
		"broken rule":     {func(in *Input) { in.CommandRules[0].Spec.Action = "Ask" }, v1alpha1.ReasonRuleInvalid, "CommandRule/shop-gate/destructive selects the Target and does not compile: spec.action"},
		"no store":        {func(in *Input) { in.Stores = nil }, v1alpha1.ReasonReferenceMissing, "RecordingStore audit"},
		"full store": {func(in *Input) {
			in.Stores[0].Status.Conditions[0].Status, in.Stores[0].Status.Conditions[0].Reason = metav1.ConditionFalse, v1alpha1.ReasonFull
		}, v1alpha1.ReasonFull, "is full"},
		"baseline": {func(in *Input) {
			in.Targets[0].Spec.Baseline = &v1alpha1.Baseline{Disable: []string{"postgres-drop-databse"}}
		}, v1alpha1.ReasonInvalid, `"postgres-drop-databse" is no baseline rule`},
		"CA": {func(in *Input) {
			in.Targets[0].Spec.Postgres.TLS = v1alpha1.UpstreamTLS{Mode: v1alpha1.TLSDisable, CARef: &v1alpha1.KeyReference{}}
		}, v1alpha1.ReasonInvalid, "caRef"},
		"client certificate": {func(in *Input) {
			in.Targets[0].Spec.Postgres.TLS = v1alpha1.UpstreamTLS{Mode: v1alpha1.TLSDisable, ClientCertRef: &v1alpha1.ObjectName{Name: "x"}}
		}, v1alpha1.ReasonInvalid, "clientCertRef"},
		"idle for too short": {func(in *Input) {
			in.Targets[0].Spec.IdleTimeout = &metav1.Duration{Duration: 9 * time.Second}
		}, v1alpha1.ReasonInvalid, "spec.idleTimeout: must be between 10s and 24h"},
		"statements for too long": {func(in *Input) {
			in.Targets[0].Spec.Postgres.StatementTimeout = &metav1.Duration{Duration: 25 * time.Hour}
		}, v1alpha1.ReasonInvalid, "spec.postgres.statementTimeout: must be between 1s and 24h"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			in := makeInput()
			tc.change(&in)
			checkAssessment(t, AssessTarget(in, in.Targets[0]), tc.reason, tc.message)
		})
	}
}

func checkAssessment(t *testing.T, a Assessment, reason, message string) {
	t.Helper()
	if a.OK != (message == "") || a.Reason != reason || !strings.Contains(a.Message, message) || a.Message == "" {
		t.Errorf("assessed as %+v, want %s with %q", a, reason, message)
	}
}

func TestAssessGrant(t *testing.T) {
	tests := map[string]struct {
		change  func(*v1alpha1.AccessGrant, *Input)
		reason  string
		message string
	}{
		"good":              {func(*v1alpha1.AccessGrant, *Input) {}, v1alpha1.ReasonAccepted, ""},
		"expired is good":   {func(g *v1alpha1.AccessGrant, _ *Input) { g.Status = v1alpha1.AccessGrantStatus{} }, v1alpha1.ReasonAccepted, ""},
		"no target":         {func(_ *v1alpha1.AccessGrant, in *Input) { in.Targets = nil }, v1alpha1.ReasonTargetMissing, "Target orders-db of spec.targetRef does not exist"},
		"no permissions":    {func(g *v1alpha1.AccessGrant, _ *Input) { g.Spec.Postgres = nil }, v1alpha1.ReasonInvalid, "spec.postgres"},
		"target of no kind": {func(_ *v1alpha1.AccessGrant, in *Input) { in.Targets[0].Spec.Postgres = nil }, v1alpha1.ReasonInvalid, "no protocol"},
		"access":            {func(g *v1alpha1.AccessGrant, _ *Input) { g.Spec.Postgres.Access = "Root" }, v1alpha1.ReasonInvalid, "spec.postgres.access"},
		"long database":     {func(g *v1alpha1.AccessGrant, _ *Input) { g.Spec.Postgres.Databases[0] = strings.Repeat("x", 64) }, v1alpha1.ReasonInvalid, "spec.postgres.databases[0]"},
		"start after end": {func(g *v1alpha1.AccessGrant, _ *Input) {
			g.Spec.Duration, g.Spec.StartsAt, g.Spec.ExpiresAt = nil, at(time.Hour), at(time.Minute)
		}, v1alpha1.ReasonInvalid, "spec.startsAt"},
		"subject": {func(g *v1alpha1.AccessGrant, _ *Input) { g.Spec.Subject.Namespace = "" }, v1alpha1.ReasonInvalid, "spec.subject"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			in := makeInput()
			g := makeGrant()
			tc.change(g, &in)
			checkAssessment(t, AssessGrant(in, g), tc.reason, tc.message)
		})
	}
}

func TestAssessCommandRule(t *testing.T) {
	sqlMatch := func(m v1alpha1.SQLMatch) func(*v1alpha1.CommandRuleSpec) {
		return func(s *v1alpha1.CommandRuleSpec) { s.Match = []v1alpha1.CommandMatch{{SQL: &m}} }
	}
	drop := []v1alpha1.SQLStatement{"Drop"}
	tests := map[string]struct {
		change  func(*v1alpha1.CommandRuleSpec)
		message string
	}{
		"good":              {func(*v1alpha1.CommandRuleSpec) {}, ""},
		"no action":         {func(s *v1alpha1.CommandRuleSpec) { s.Action = "" }, "spec.action"},
		"needless approval": {func(s *v1alpha1.CommandRuleSpec) { s.Action = v1alpha1.ActionDeny }, "spec.approval"},
		"no approval":       {func(s *v1alpha1.CommandRuleSpec) { s.Approval = nil }, "spec.approval"},
		"nobody required":   {func(s *v1alpha1.CommandRuleSpec) { s.Approval.Required = 0 }, "spec.approval.required"},
		"nobody may":        {func(s *v1alpha1.CommandRuleSpec) { s.Approval.Approvers = nil }, "spec.approval.approvers"},
		"bad approver":      {func(s *v1alpha1.CommandRuleSpec) { s.Approval.Approvers[0].Kind = "" }, "spec.approval.approvers[0]"},
		"no timeout":        {func(s *v1alpha1.CommandRuleSpec) { s.Approval.Timeout.Duration = 0 }, "spec.approval.timeout"},
		"no mode":           {func(s *v1alpha1.CommandRuleSpec) { s.Approval.WhilePending = "" }, "spec.approval.whilePending"},
		"no second mode":    {func(s *v1alpha1.CommandRuleSpec) { s.Approval.InTransaction = "Maybe" }, "spec.approval.inTransaction"},
		"no match":          {func(s *v1alpha1.CommandRuleSpec) { s.Match = nil }, "spec.match"},
		"match of nothing":  {func(s *v1alpha1.CommandRuleSpec) { s.Match = []v1alpha1.CommandMatch{{}} }, "spec.match[0]"},
		"empty match":       {sqlMatch(v1alpha1.SQLMatch{}), "at least one of"},
		"objects alone":     {sqlMatch(v1alpha1.SQLMatch{Objects: []string{"Table"}, Writes: "Any"}), "sql.objects"},
		"bad object":        {sqlMatch(v1alpha1.SQLMatch{Objects: []string{"table"}, Statements: drop}), "sql.objects"},
		"bad statement":     {sqlMatch(v1alpha1.SQLMatch{Statements: []v1alpha1.SQLStatement{"DROP"}}), "sql.statements"},
		"bad group":         {sqlMatch(v1alpha1.SQLMatch{Groups: []v1alpha1.SQLGroup{"DDL"}}), "sql.groups"},
		"bad writes":        {sqlMatch(v1alpha1.SQLMatch{Writes: "All"}), "sql.writes"},
		"bad relation":      {sqlMatch(v1alpha1.SQLMatch{Relations: []string{"orders"}}), "sql.relations"},
		"bad function":      {sqlMatch(v1alpha1.SQLMatch{Functions: []string{"pg_catalog.f"}}), "sql.functions"},
		"bad selector":      {func(s *v1alpha1.CommandRuleSpec) { s.TargetSelector = badSelector() }, "selector"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := makeInput().CommandRules[0]
			tc.change(&r.Spec)
			reason := v1alpha1.ReasonRuleInvalid
			if tc.message == "" {
				reason = v1alpha1.ReasonReady
			}
			checkAssessment(t, AssessCommandRule(r), reason, tc.message)
		})
	}
}

func TestAssessMaskingRule(t *testing.T) {
	tests := map[string]struct {
		change  func(*v1alpha1.MaskingRuleSpec)
		message string
	}{
		"good":         {func(*v1alpha1.MaskingRuleSpec) {}, ""},
		"no columns":   {func(s *v1alpha1.MaskingRuleSpec) { s.Columns = nil }, "spec.columns"},
		"no names":     {func(s *v1alpha1.MaskingRuleSpec) { s.Columns[0].Names = nil }, "spec.columns[0].names"},
		"two parts":    {func(s *v1alpha1.MaskingRuleSpec) { s.Columns[0].Names[0] = "customers.email" }, "SCHEMA.TABLE.COLUMN"},
		"empty part":   {func(s *v1alpha1.MaskingRuleSpec) { s.Columns[0].Names[0] = "public..email" }, "SCHEMA.TABLE.COLUMN"},
		"no function":  {func(s *v1alpha1.MaskingRuleSpec) { s.Columns[0].Function = v1alpha1.MaskFunction{} }, "spec.columns[0].function"},
		"predicates":   {func(s *v1alpha1.MaskingRuleSpec) { s.Predicates = "Range" }, "spec.predicates"},
		"bad exempt":   {func(s *v1alpha1.MaskingRuleSpec) { s.Exempt = []v1alpha1.Subject{{}} }, "spec.exempt[0]"},
		"bad selector": {func(s *v1alpha1.MaskingRuleSpec) { s.TargetSelector = badSelector() }, "selector"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			r := makeInput().MaskingRules[0]
			tc.change(&r.Spec)
			reason := v1alpha1.ReasonRuleInvalid
			if tc.message == "" {
				reason = v1alpha1.ReasonReady
			}
			checkAssessment(t, AssessMaskingRule(r), reason, tc.message)
		})
	}
}
