package api

import (
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

// changes maps what is tried to a first state, a merge patch of it and the error that earns.
type changes map[string]struct{ first, patch, wantError string }

// change stores each first state and patches it.
func change(t *testing.T, manifest string, changes changes) {
	t.Helper()
	for name, c := range changes {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := store(t, apiserver.Object(manifest, c.first))
			refused(t, admin.Patch(t.Context(), o, mergePatch(t, c.patch)), c.wantError)
		})
	}
}

func TestAccessGrantUpdate(t *testing.T) {
	t.Parallel()
	const (
		expiring = `{spec: {duration: null, startsAt: "2098-01-01T00:00:00Z", expiresAt: "2099-01-01T00:00:00Z"}}`
		revoked  = `{spec: {desiredState: Revoked}}`
	)
	change(t, apiserver.Grant, changes{
		"another subject":             {"", `{spec: {subject: {name: other}}}`, "subject is immutable: make a new grant"},
		"another kind of subject":     {"", `{spec: {subject: {kind: User, namespace: null}}}`, "subject is immutable: make a new grant"},
		"another target":              {"", `{spec: {targetRef: {name: other}}}`, "targetRef is immutable: make a new grant"},
		"no subject":                  {"", `{spec: {subject: null}}`, "spec.subject: Required value"},
		"no spec":                     {"", `{spec: null}`, "spec: Required value"},
		"a start":                     {"", `{spec: {startsAt: "2098-01-01T00:00:00Z"}}`, "startsAt is immutable: make a new grant"},
		"no start":                    {expiring, `{spec: {startsAt: null}}`, "startsAt is immutable: make a new grant"},
		"another start":               {expiring, `{spec: {startsAt: "2098-01-02T00:00:00Z"}}`, "startsAt is immutable: make a new grant"},
		"more access":                 {"", `{spec: {postgres: {access: Full}}}`, "permissions are immutable: make a new grant"},
		"another database":            {"", `{spec: {postgres: {databases: [orders, hr]}}}`, "permissions are immutable: make a new grant"},
		"no permissions":              {"", `{spec: {postgres: null}}`, "permissions are immutable: make a new grant"},
		"permissions at last":         {`{spec: {postgres: null}}`, `{spec: {postgres: {databases: [orders]}}}`, "permissions are immutable: make a new grant"},
		"less access":                 {`{spec: {postgres: {access: Full}}}`, `{spec: {postgres: {access: null}}}`, "permissions are immutable: make a new grant"},
		"another Secret":              {"", `{spec: {credentials: {secretName: other}}}`, "credentials is immutable: make a new grant"},
		"no Secret's name":            {`{spec: {credentials: {secretName: mine}}}`, `{spec: {credentials: null}}`, "credentials is immutable: make a new grant"},
		"default credentials dropped": {"", `{spec: {credentials: null}}`, ""},
		"another path":                {"", `{spec: {credentials: {mountPath: /etc/other}}}`, "credentials is immutable: make a new grant"},
		"a longer duration":           {"", `{spec: {duration: 61m}}`, "duration may only shrink: make a new grant"},
		"the same duration":           {"", `{spec: {duration: 1h}}`, ""},
		"a shorter duration":          {"", `{spec: {duration: 59m}}`, ""},
		"a duration that is none":     {"", `{spec: {duration: soon}}`, "written like 90m or 1h30m"},
		"duration to expiresAt":       {"", `{spec: {duration: null, expiresAt: "2026-01-01T00:00:00Z"}}`, "expiresAt may only move to an earlier time"},
		"expiresAt to duration":       {expiring, `{spec: {duration: 1m, expiresAt: null}}`, "may only"},
		"no end":                      {"", `{spec: {duration: null}}`, "exactly one of expiresAt and duration must be set"},
		"a later end":                 {expiring, `{spec: {expiresAt: "2099-01-01T00:00:01Z"}}`, "expiresAt may only move to an earlier time"},
		"a later end in another zone": {expiring, `{spec: {expiresAt: "2098-12-31T23:59:59-01:00"}}`, "expiresAt may only move to an earlier time"},
		"an earlier end":              {expiring, `{spec: {expiresAt: "2098-06-01T00:00:00Z"}}`, ""},
		"an end before the start":     {expiring, `{spec: {expiresAt: "2097-01-01T00:00:00Z"}}`, "startsAt must be before expiresAt"},
		"revoked":                     {"", revoked, ""},
		"revoked, permissions absent": {`{spec: {postgres: null}}`, revoked, ""},
		"active again":                {revoked, `{spec: {desiredState: Active}}`, "a revoked grant stays revoked: make a new grant"},
		"active again by leaving out": {revoked, `{spec: {desiredState: null}}`, "a revoked grant stays revoked: make a new grant"},
		"active again by emptiness":   {revoked, `{spec: {desiredState: ""}}`, "spec.desiredState"},
		"another reason":              {"", `{spec: {reason: OPS-1424}}`, ""},
		"kept for longer":             {"", `{spec: {ttlAfterExpired: 24h}}`, ""},
	})
}

// TestRevokedStaysRevoked tries a whole replacement, as a GitOps tool might send it.
func TestRevokedStaysRevoked(t *testing.T) {
	o := store(t, apiserver.Object(apiserver.Grant, `{spec: {desiredState: Revoked}}`))
	unstructured.RemoveNestedField(o.Object, "spec", "desiredState")
	refused(t, admin.Update(t.Context(), o), "a revoked grant stays revoked: make a new grant")
	_, err := cluster.Kubectl(apiserver.User{}, "", "patch", "agrant", o.GetName(), "-n", "shop-gate", "--type=json",
		"-p", `[{"op": "remove", "path": "/spec/desiredState"}]`)
	refused(t, err, "a revoked grant stays revoked: make a new grant")
}

func TestSessionUpdate(t *testing.T) {
	t.Parallel()
	const only = "only desiredState of a Session may change"
	change(t, apiserver.Session, changes{
		"terminated":            {"", `{spec: {desiredState: Terminated}}`, ""},
		"active again":          {`{spec: {desiredState: Terminated}}`, `{spec: {desiredState: Active}}`, "a terminated session stays terminated"},
		"active by leaving out": {`{spec: {desiredState: Terminated}}`, `{spec: {desiredState: null}}`, "a terminated session stays terminated"},
		"another grant":         {"", `{spec: {grantRef: {uid: other}}}`, only},
		"another generation":    {"", `{spec: {targetRef: {generation: 2}}}`, only},
		"no generation":         {"", `{spec: {targetRef: {generation: null}}}`, only},
		"another subject":       {"", `{spec: {subject: {name: other}}}`, only},
		"another client":        {"", `{spec: {client: 10.0.0.1}}`, only},
		"another proxy":         {"", `{spec: {proxy: other}}`, only},
		"another start":         {"", `{spec: {startedAt: "2026-01-01T00:00:00.000001Z"}}`, only},
	})
}

func TestApprovalRequestUpdate(t *testing.T) {
	t.Parallel()
	const immutable = "the spec of an ApprovalRequest is immutable"
	change(t, apiserver.ApprovalRequest, changes{
		"fewer required":  {`{spec: {required: 2}}`, `{spec: {required: 1}}`, immutable},
		"more approvers":  {"", `{spec: {approvers: [{kind: Group, name: dba}, {kind: User, name: eve}]}}`, immutable},
		"another command": {"", `{spec: {command: {text: SELECT 1}}}`, immutable},
		"no creator":      {"", `{spec: {grantCreator: null}}`, immutable},
		"a session":       {`{spec: {session: null}}`, `{spec: {session: other}}`, immutable},
		"a later end":     {"", `{spec: {expiresAt: "2100-01-01T00:00:00Z"}}`, immutable},
		"a label":         {"", `{metadata: {labels: {a: b}}}`, ""},
	})
}

func TestStatus(t *testing.T) {
	t.Parallel()
	kinds := map[string]map[string]struct{ manifest, patch, wantError string }{
		"ApprovalRequest": {
			"a decision":          {apiserver.ApprovalRequest, `{status: {decisions: [{approver: a, decision: Approved}]}}`, ""},
			"no approver":         {apiserver.ApprovalRequest, `{status: {decisions: [{decision: Approved}]}}`, "status.decisions[0].approver: Required value"},
			"another decision":    {apiserver.ApprovalRequest, `{status: {decisions: [{approver: a, decision: Maybe}]}}`, `supported values: "Approved", "Denied"`},
			"decided twice":       {apiserver.ApprovalRequest, `{status: {decisions: [{approver: a, decision: Approved}, {approver: a, decision: Denied}]}}`, "Duplicate value"},
			"sixteen decisions":   {apiserver.ApprovalRequest, `{status: {decisions: ` + list(16, "{approver: a%d, decision: Approved}") + `}}`, ""},
			"seventeen decisions": {apiserver.ApprovalRequest, `{status: {decisions: ` + list(17, "{approver: a%d, decision: Approved}") + `}}`, "status.decisions: Too many"},
			"too long a comment":  {apiserver.ApprovalRequest, `{status: {decisions: [{approver: a, decision: Approved, comment: ` + long(1025) + `}]}}`, "comment: Too long"},
			"too many groups":     {apiserver.ApprovalRequest, `{status: {decisions: [{approver: a, decision: Approved, groups: ` + list(129, "g%d") + `}]}}`, "groups: Too many"},
			"consumed by nobody":  {apiserver.ApprovalRequest, `{status: {consumed: {time: "2026-01-01T00:00:00Z"}}}`, "status.consumed.session: Required value"},
		},
		"AccessGrant": {
			"two verifiers":    {apiserver.Grant, `{status: {verifiers: ` + list(2, `{id: "%d", notBefore: "2026-01-01T00:00:00Z", expiresAt: "2026-01-02T00:00:00Z"}`) + `}}`, ""},
			"three verifiers":  {apiserver.Grant, `{status: {verifiers: ` + list(3, `{id: "%d", notBefore: "2026-01-01T00:00:00Z", expiresAt: "2026-01-02T00:00:00Z"}`) + `}}`, "status.verifiers: Too many"},
			"lasting verifier": {apiserver.Grant, `{status: {verifiers: [{id: a, notBefore: "2026-01-01T00:00:00Z"}]}}`, "expiresAt: Required value"},
			"half a reference": {apiserver.Grant, `{status: {secretRef: {name: x}}}`, "status.secretRef.namespace: Required value"},
		},
		"Session": {
			"recording state": {apiserver.Session, `{status: {recording: {state: Lost}}}`, `supported values: "Open", "Complete", "Cut"`},
			"counters":        {apiserver.Session, `{status: {commands: {forwarded: 1, denied: 2, held: 3}}}`, ""},
		},
		"Target": {
			"a condition twice": {apiserver.Target, `{status: {conditions: [` + ready + `, ` + ready + `]}}`, "Duplicate value"},
		},
	}
	for kind, c := range kinds {
		for name, c := range c {
			t.Run(kind+" "+name, func(t *testing.T) {
				t.Parallel()
				o := store(t, apiserver.Object(c.manifest, ""))
				refused(t, admin.Status().Patch(t.Context(), o, mergePatch(t, c.patch)), c.wantError)
			})
		}
	}
}

const ready = `{type: Ready, status: "True", reason: Active, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}`

// TestStatusIsApart shows that a write of an object does not touch its status.
func TestStatusIsApart(t *testing.T) {
	o := apiserver.Object(apiserver.Grant, `{metadata: {name: apart}, status: {conditions: [`+ready+`]}}`)
	if err := admin.Create(t.Context(), o, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	if _, found, _ := unstructured.NestedSlice(o.Object, "status", "conditions"); found {
		t.Error("creating a grant set its status")
	}
}
