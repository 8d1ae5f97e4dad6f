package api

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

// kubectl runs the real one as administrator.
func kubectl(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, err := cluster.Kubectl(apiserver.User{}, stdin, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestColumns reads what `kubectl get SHORTNAME` prints.
func TestColumns(t *testing.T) {
	const conditions = `conditions: [{type: Ready, status: "True", reason: Active, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"},
		{type: UpstreamReachable, status: "True", reason: Reachable, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}]`
	cases := map[string]struct {
		manifest, status string
		want             []string // header and row, without NAME and AGE
	}{
		"agrant":   {apiserver.Grant, `{expiresAt: "2099-01-01T00:00:00Z", ` + conditions + `}`, []string{"SUBJECT TARGET STATE EXPIRES", "report-agent orders-db Active 2099-01-01T00:00:00Z"}},
		"atgt":     {apiserver.Target, `{` + conditions + `}`, []string{"HOST STATE REACHABLE", "orders.shop.svc Active True"}},
		"mrule":    {apiserver.MaskingRule, `{targets: 2, ` + conditions + `}`, []string{"TARGETS STATE", "2 Active"}},
		"cmdrule":  {apiserver.CommandRule, `{targets: 3, ` + conditions + `}`, []string{"ACTION TARGETS STATE", "Deny 3 Active"}},
		"apreq":    {apiserver.ApprovalRequest, `{` + conditions + `}`, []string{"KIND REQUESTER TARGET COMMAND STATE UNTIL", "Command system:serviceaccount:shop:report-agent orders-db DELETE FROM orders Active 2099-01-01T00:00:00Z"}},
		"asess":    {apiserver.Session, `{commands: {forwarded: 4, denied: 1, held: 2}, recording: {state: Open}, ` + conditions + `}`, []string{"SUBJECT TARGET STATE FORWARDED DENIED HELD RECORDING", "report-agent orders-db Active 4 1 2 Open"}},
		"recstore": {apiserver.RecordingStore, `{recordings: 5, bytes: 77, ` + conditions + `}`, []string{"RECORDINGS BYTES STATE", "5 77 Active"}},
		"aproxy":   {apiserver.AccessProxy, `{replicas: 2, readyReplicas: 1, ` + conditions + `}`, []string{"REPLICAS READY STATE", "2 1 Active"}},
		"apol":     {apiserver.AccessPolicy, `{targets: 4, ` + conditions + `}`, []string{"TARGETS STATE", "4 Active"}},
		"alock":    {apiserver.Lock, "", []string{"REASON", "incident 4711"}},
	}
	for short, c := range cases {
		t.Run(short, func(t *testing.T) {
			o := store(t, apiserver.Object(c.manifest, ""))
			if c.status != "" {
				if err := admin.Status().Patch(t.Context(), o, mergePatch(t, "status: "+c.status)); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, line := range strings.Split(strings.TrimSpace(kubectl(t, "", "get", short, o.GetName(), "-n", "shop-gate")), "\n") {
				words := strings.Fields(line)
				got = append(got, strings.Join(words[1:len(words)-1], " "))
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("kubectl get %s (-want +got):\n%s", short, diff)
			}
			if all := kubectl(t, "", "get", "cardea", "-n", "shop-gate", "-o", "name"); !strings.Contains(all, "/"+o.GetName()) {
				t.Errorf("kubectl get cardea does not list %s", o.GetName())
			}
		})
	}
}

// TestApplyTwice applies every kind twice, by both kinds of apply: the second time changes
// nothing.
func TestApplyTwice(t *testing.T) {
	kinds := map[string]string{
		"AccessGrant": apiserver.Grant, "Target": apiserver.Target, "MaskingRule": apiserver.MaskingRule, "CommandRule": apiserver.CommandRule,
		"RecordingStore": apiserver.RecordingStore, "AccessLock": apiserver.Lock, "AccessPolicy": apiserver.AccessPolicy, "Session": apiserver.Session, "ApprovalRequest": apiserver.ApprovalRequest,
	}
	for kind, manifest := range kinds {
		t.Run(kind, func(t *testing.T) {
			for how, args := range map[string][]string{
				"client": {"apply", "-f", "-"},
				"server": {"apply", "--server-side", "-f", "-"},
			} {
				o := apiserver.Object(manifest, `{metadata: {name: applied-twice-by-`+how+`}}`)
				data, err := o.MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				kubectl(t, string(data), args...)
				before := version(t, o)
				kubectl(t, string(data), args...)
				if after := version(t, o); before != after {
					t.Errorf("kubectl %v changed what it had applied before", args)
				}
			}
		})
	}
}

// version reads the stored object's resourceVersion.
func version(t *testing.T, o *unstructured.Unstructured) string {
	t.Helper()
	stored := o.DeepCopy()
	if err := admin.Get(t.Context(), client.ObjectKeyFromObject(o), stored); err != nil {
		t.Fatal(err)
	}
	return stored.GetResourceVersion()
}

// TestStrict refuses a field that does not exist, with its path.
func TestStrict(t *testing.T) {
	o := apiserver.Object(apiserver.Grant, `{metadata: {name: strict}, spec: {postgres: {acces: Full}}}`)
	data, err := o.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	_, err = cluster.Kubectl(apiserver.User{}, string(data), "create", "-f", "-")
	refused(t, err, `unknown field "spec.postgres.acces"`)
}

// TestExplain shows that the reference is in the cluster.
func TestExplain(t *testing.T) {
	if out := kubectl(t, "", "explain", "agrant.spec.desiredState"); !strings.Contains(out, "Revoked is final") {
		t.Errorf("kubectl explain says %q", out)
	}
}

// TestFromClientToServer applies every kind as a person does at first, and then as a GitOps
// tool does: what the server has filled in is then nobody's, and stays.
func TestFromClientToServer(t *testing.T) {
	kinds := map[string]struct{ manifest, before, after string }{
		"AccessGrant":    {manifest: apiserver.Grant},
		"Target":         {apiserver.Target, `{spec: {baseline: {disable: [postgres-drop-database]}}}`, `{spec: {baseline: {}}}`},
		"MaskingRule":    {manifest: apiserver.MaskingRule},
		"CommandRule":    {manifest: apiserver.CommandRule},
		"RecordingStore": {apiserver.RecordingStore, `{spec: {configMap: {maxBytes: 67108864}}}`, `{spec: {configMap: {}}}`},
		"AccessLock":     {manifest: apiserver.Lock},
		"AccessPolicy":   {manifest: apiserver.AccessPolicy},
		"AccessProxy":    {apiserver.AccessProxy, `{spec: {replicas: 2, scheduling: {priorityClassName: high}}}`, `{spec: {scheduling: {}}}`},
	}
	for kind, c := range kinds {
		t.Run(kind, func(t *testing.T) {
			if kind == "AccessProxy" {
				kubectl(t, "", "delete", "aproxy", "--all", "-n", "shop-gate")
			}
			for _, step := range []struct{ patch, how string }{{c.before, "--server-side=false"}, {c.after, "--server-side"}, {c.after, "--server-side"}} {
				o := apiserver.Object(c.manifest, step.patch)
				if kind != "AccessProxy" {
					o.SetName("applied-by-both")
				}
				data, err := o.MarshalJSON()
				if err != nil {
					t.Fatal(err)
				}
				if out := kubectl(t, string(data), "apply", step.how, "-f", "-"); strings.Contains(out, "Warning") {
					t.Errorf("kubectl apply %s: %s", step.how, out)
				}
			}
		})
	}
}
