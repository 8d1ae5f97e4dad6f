package admission

import (
	"testing"
	"time"

	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

// step is one update of an ApprovalRequest's status; error is empty for success.
type step struct {
	as    apiserver.User
	patch string
	error string
}

// What people and accounts send. With the operator down a decision is written out in full.
const (
	doraApproves = `{decisions: [{approver: dora, groups: [dba, system:authenticated], decision: Approved, comment: ok}]}`
	doraDenies   = `{decisions: [{approver: dora, groups: [system:authenticated, dba], decision: Denied}]}`
	bothApprove  = `{decisions: [{approver: dora, groups: [dba, system:authenticated], decision: Approved, comment: ok},
		{approver: dan, groups: [dba, on-call, system:authenticated], decision: Approved, comment: me too}]}`
	consume  = `{consumed: {session: report-agent-abcde, time: "2026-01-01T00:00:00Z"}}`
	withdraw = `{withdrawnAt: "2026-01-01T00:00:00Z"}`
)

// TestDecisions tries who may decide what, with the operator down.
func TestDecisions(t *testing.T) {
	t.Parallel()
	two := `{spec: {required: 2}}`
	cases := map[string]struct {
		request string // a patch of the request
		steps   []step
	}{
		"an approver approves":              {steps: []step{{dora, doraApproves, ""}}},
		"an approver denies":                {steps: []step{{dora, doraDenies, ""}}},
		"the same update twice":             {steps: []step{{dora, doraApproves, ""}, {dora, doraApproves, ""}}},
		"a second approver keeps the first": {two, []step{{dora, doraApproves, ""}, {dan, bothApprove, ""}}},
		"a named user approves": {`{spec: {approvers: [{kind: User, name: eve}]}}`, []step{
			{eve, `{decisions: [{approver: eve, groups: [developers, system:authenticated], decision: Approved}]}`, ""},
			{dora, doraApproves, "an earlier decision is missing"},
		}},
		"a named ServiceAccount approves": {`{spec: {approvers: [{kind: ServiceAccount, namespace: ops, name: approver-bot}]}}`, []step{
			{bot, `{decisions: [{approver: "system:serviceaccount:ops:approver-bot",
				groups: [system:serviceaccounts, system:serviceaccounts:ops, system:authenticated], decision: Approved}]}`, ""},
		}},
		"a ServiceAccount by its group": {`{spec: {approvers: [{kind: Group, name: "system:serviceaccounts"}]}}`, []step{
			{bot, `{decisions: [{approver: "system:serviceaccount:ops:approver-bot",
				groups: [system:serviceaccounts, system:serviceaccounts:ops, system:authenticated], decision: Approved}]}`, "a ServiceAccount decides only where spec.approvers names it"},
		}},
		"a ServiceAccount of another namespace": {`{spec: {approvers: [{kind: ServiceAccount, namespace: shop, name: approver-bot}]}}`, []step{
			{bot, `{decisions: [{approver: "system:serviceaccount:ops:approver-bot",
				groups: [system:serviceaccounts, system:serviceaccounts:ops, system:authenticated], decision: Approved}]}`, "a ServiceAccount decides only where"},
		}},
		"somebody else": {steps: []step{
			{eve, `{decisions: [{approver: eve, groups: [developers, system:authenticated], decision: Approved}]}`, "you are not among spec.approvers: Group dba"},
		}},
		"a user by the name of the group": {steps: []step{
			{apiserver.User{Name: "dba", Groups: []string{"developers"}},
				`{decisions: [{approver: dba, groups: [developers, system:authenticated], decision: Approved}]}`, "you are not among spec.approvers"},
		}},
		"the requester": {`{spec: {approvers: [{kind: ServiceAccount, namespace: shop, name: report-agent}]}}`, []step{
			{agent, `{decisions: [{approver: "system:serviceaccount:shop:report-agent",
				groups: [system:serviceaccounts, system:serviceaccounts:shop, system:authenticated], decision: Approved}]}`, "the requester, the grant's subject and its creator never approve"},
		}},
		"the grant's creator": {steps: []step{
			{alice, `{decisions: [{approver: alice, groups: [dba, system:authenticated], decision: Approved}]}`, "its creator never approve"},
		}},
		"the grant's creator as somebody else": {steps: []step{{alice, doraApproves, `must be your own user name, "alice"`}}},
		"a user of the product": {steps: []step{
			{apiserver.User{Name: "cardea:proxy", Groups: []string{"dba"}},
				`{decisions: [{approver: "cardea:proxy", groups: [dba, system:authenticated], decision: Approved}]}`, "users of the product itself"},
		}},
		"the operator decides": {steps: []step{
			{operator, `{decisions: [{approver: "` + apiserver.Operator + `", decision: Approved}]}`, "status.decisions"},
			{operator, doraApproves, "must be your own user name"},
		}},
		"the proxy decides, though named": {`{spec: {approvers: [{kind: ServiceAccount, namespace: shop-gate, name: cardea-proxy}]}}`, []step{
			{proxy, `{decisions: [{approver: "` + apiserver.Proxy(gate) + `",
				groups: [system:serviceaccounts, system:serviceaccounts:shop-gate, system:authenticated], decision: Approved}]}`, "the operator and the proxy decide nothing"},
		}},
		"groups that are not the caller's": {steps: []step{
			{eve, `{decisions: [{approver: eve, groups: [dba, developers, system:authenticated], decision: Approved}]}`, "status.decisions.groups: must be exactly your own groups"},
			{dan, `{decisions: [{approver: dan, groups: [dba], decision: Approved}]}`, `["dba", "on-call", "system:authenticated"]`},
			{dan, `{decisions: [{approver: dan, decision: Approved}]}`, "must be exactly your own groups"},
		}},
		"no approver":           {steps: []step{{dora, `{decisions: [{decision: Approved}]}`, "approver"}}},
		"two decisions at once": {two, []step{{dan, bothApprove, "one decision at a time"}}},
		"the first decision dropped": {two, []step{
			{dora, doraApproves, ""},
			{dan, `{decisions: [{approver: dan, groups: [dba, on-call, system:authenticated], decision: Approved}]}`, "an earlier decision is missing or changed"},
			{dan, `{decisions: []}`, "an earlier decision is missing"},
			{dan, `{decisions: null}`, "an earlier decision is missing"},
			{operator, `{decisions: []}`, "an earlier decision is missing"},
			{proxy, `{decisions: []}`, "an earlier decision is missing"},
		}},
		"an earlier decision changed": {two, []step{
			{dora, doraDenies, ""},
			{dora, doraApproves, "decisions are final"},
			{dan, bothApprove, "decisions are final"},
		}},
		"conditions beside the decision": {steps: []step{
			{dora, `{decisions: [{approver: dora, groups: [dba, system:authenticated], decision: Approved}],
				conditions: [{type: Ready, status: "True", reason: Approved, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}]}`, "status.conditions: only the operator"},
		}},
		"an approver uses the approval up": {steps: []step{
			{dora, doraApproves, ""}, {dora, consume, "only the proxy's account sets it"}, {operator, consume, "only the proxy's account sets it"},
			{otherProxy, consume, denied},
		}},
		"an approver withdraws": {steps: []step{{dora, withdraw, "only the proxy's account sets it"}, {operator, withdraw, "only the proxy's account"}}},
		"the proxy uses the approval up, once": {steps: []step{
			{dora, doraApproves, ""}, {proxy, consume, ""},
			{proxy, `{consumed: {session: other, time: "2026-01-01T00:00:00Z"}}`, "only the proxy's account sets it, once"},
			{proxy, `{consumed: null}`, "only the proxy's account sets it, once"},
			{proxy, withdraw, "not on a request that was used up"},
			{operator, condition("Ready", "True", "Consumed"), ""},
		}},
		"used up without approval":       {steps: []step{{proxy, consume, "only an approved request can be used up"}}},
		"used up with too few approvals": {two, []step{{dora, doraApproves, ""}, {proxy, consume, "only an approved request"}}},
		"used up after a denial":         {steps: []step{{dora, doraDenies, ""}, {proxy, consume, "only an approved request"}}},
		"the proxy withdraws, once": {steps: []step{
			{proxy, withdraw, ""},
			{proxy, `{withdrawnAt: "2026-01-02T00:00:00Z"}`, "sets it, once"}, {proxy, `{withdrawnAt: null}`, "sets it, once"},
			{dora, doraApproves, "takes no more decisions"},
		}},
		"withdrawn and used up at once": {steps: []step{
			{dora, doraApproves, ""},
			{proxy, `{withdrawnAt: "2026-01-02T00:00:00Z", consumed: {session: s, time: "2026-01-01T00:00:00Z"}}`, "not on a withdrawn request"},
		}},
		"used up after withdrawal":                   {steps: []step{{dora, doraApproves, ""}, {proxy, withdraw, ""}, {proxy, consume, "not on a withdrawn request"}}},
		"a decision after use":                       {steps: []step{{dora, doraApproves, ""}, {proxy, consume, ""}, {dan, bothApprove, "takes no more decisions"}}},
		"the proxy writes conditions":                {steps: []step{{proxy, condition("Ready", "True", "Approved"), "status.conditions: only the operator"}}},
		"a decision after the operator saw it lapse": {steps: []step{{operator, condition("Ready", "False", "Expired"), ""}, {dora, doraApproves, "takes no more decisions"}}},
		"a decision after it lapsed":                 {`{spec: {expiresAt: "2026-01-01T00:00:00Z"}}`, []step{{dora, doraApproves, "the request lapsed at 2026-01-01T00:00:00Z"}}},
		"a decision from the past": {steps: []step{
			{dora, `{decisions: [{approver: dora, groups: [dba, system:authenticated], decision: Approved, time: "2020-01-01T00:00:00Z"}]}`, "status.decisions.time"},
			{dora, `{decisions: [{approver: dora, groups: [dba, system:authenticated], decision: Approved, time: "2100-01-01T00:00:00Z"}]}`, "status.decisions.time"},
			{dora, `{decisions: [{approver: dora, groups: [dba, system:authenticated], decision: Approved, time: "` + time.Now().UTC().Format(time.RFC3339) + `"}]}`, ""},
		}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := store(t, proxy, apiserver.Object(request, c.request))
			for _, s := range c.steps {
				refused(t, patchStatus(t.Context(), s.as, o, s.patch), s.error)
			}
		})
	}
}

// TestGrantRequests tries who asks about grants, who withdraws that, and what a group that
// asks may decide.
func TestGrantRequests(t *testing.T) {
	const asked = `{spec: {kind: Grant, command: null, session: null, grant: {text: "reason: x", digest: "` +
		`0000000000000000000000000000000000000000000000000000000000000000", subject: {kind: Group, name: on-call},
		needs: [{anyOf: [{required: 1, approvers: [{kind: Group, name: dba}]}]}]}}}`
	admit(t, map[string]want{
		"the operator":     {operator, ""},
		"the proxy":        {proxy, "only the operator asks about grants"},
		"an administrator": {admin, "only the proxy of namespace"},
	}, func(u apiserver.User) error { return create(t.Context(), u, apiserver.Object(request, asked)) })

	o := store(t, operator, apiserver.Object(request, asked))
	danApproves := `{decisions: [{approver: dan, groups: [dba, on-call, system:authenticated], decision: Approved}]}`
	for _, s := range []step{
		{proxy, withdraw, "about a grant, only the operator"},
		{proxy, consume, "only the proxy's account sets it"},
		{dan, danApproves, "members of the group that the grant is for never approve it"},
		{dora, doraApproves, ""},
		{proxy, consume, "only the proxy's account sets it"},
		{operator, consume, "only the proxy's account sets it"},
		{operator, withdraw, ""},
	} {
		refused(t, patchStatus(t.Context(), s.as, o, s.patch), s.error)
	}
}

// TestLateDecisionHidesItsTime tries to pass the clock by forging the API server's
// bookkeeping in the same write.
func TestLateDecisionHidesItsTime(t *testing.T) {
	forgeries := map[string]string{
		"emptied":   `[{}]`,
		"backdated": `[{manager: kubectl, operation: Update, apiVersion: access.cardea.dev/v1alpha1, time: "2020-01-01T00:00:00Z", fieldsType: FieldsV1, fieldsV1: {"f:spec": {}}}]`,
		"untimed":   `[{manager: kubectl, operation: Update, apiVersion: access.cardea.dev/v1alpha1, fieldsType: FieldsV1, fieldsV1: {"f:spec": {}}}]`,
	}
	for name, fields := range forgeries {
		t.Run(name, func(t *testing.T) {
			o := store(t, proxy, apiserver.Object(request, `{spec: {expiresAt: "2026-01-01T00:00:00Z"}}`))
			err := patchStatus(t.Context(), dora, o, doraApproves+"\nmetadata: {managedFields: "+fields+"}")
			refused(t, err, "the request lapsed")
		})
	}
}

// TestRequests tries who may ask and who may change a question.
func TestRequests(t *testing.T) {
	admit(t, map[string]want{
		"the proxy of the namespace": {proxy, ""},
		"the operator":               {operator, ""},
		"the proxy of another one":   {otherProxy, denied},
		"an approver":                {dora, "only the proxy of namespace"},
		"an administrator":           {admin, "only the proxy of namespace"},
		"the requester":              {agent, "only the proxy of namespace"},
	}, func(u apiserver.User) error { return create(t.Context(), u, apiserver.Object(request, "")) })

	o := store(t, proxy, apiserver.Object(request, ""))
	admit(t, map[string]want{
		"relabelled by an approver": {dora, "an ApprovalRequest cannot be changed"},
		"relabelled by the proxy":   {proxy, denied},
	}, func(u apiserver.User) error { return patch(t.Context(), u, o, `{metadata: {labels: {a: b}}}`) })
	refused(t, patch(t.Context(), operator, o, `{spec: {required: 2}}`), "the spec of an ApprovalRequest is immutable")
}
