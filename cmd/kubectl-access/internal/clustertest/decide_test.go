package clustertest

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/cmd/kubectl-access/internal/access"
	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

func TestDecide(t *testing.T) {
	type step struct {
		who      apiserver.User
		args     string
		code     int
		out, err string
	}
	cases := map[string]struct {
		required int32
		steps    []step
		want     []string // approver and decision
	}{
		"approved": {1, []step{
			{dora, "approve %s --comment ok", 0, "Approved (1 of 1 approvals)", ""},
			{dora, "approve %s", 0, "Approved", ""}, // again changes nothing
			{dora, "deny %s", 1, "", "a decision cannot be changed"},
		}, []string{"dora Approved"}},
		"by two": {2, []step{
			{dora, "approve %s", 0, "1 of 2", ""},
			{dan, "approve %s", 0, "2 of 2", ""},
		}, []string{"dora Approved", "dan Approved"}},
		"denied": {1, []step{
			{dan, "deny %s --comment no", 0, "Denied", ""},
			{dora, "approve %s", 1, "", "is closed (Denied)"},
		}, []string{"dan Denied"}},
		"not by the grant's creator": {1, []step{{alice, "approve %s", 1, "", "ask one of Group dba"}}, nil},
		"not by others":              {1, []step{{eve, "approve %s", 1, "", "you are not among spec.approvers"}}, nil},
	}
	i := 0
	for name, c := range cases {
		i++
		request := "decide" + string(rune('a'+i))
		t.Run(name, func(t *testing.T) {
			if err := as(t, proxy).Create(t.Context(), newRequest(request, c.required)); err != nil {
				t.Fatal(err)
			}
			for _, s := range c.steps {
				code, out, errOut := plugin(s.who, strings.Fields(strings.ReplaceAll(s.args, "%s", request))...)
				if code != s.code || !strings.Contains(out, s.out) || !strings.Contains(errOut, s.err) || (s.err == "") != (errOut == "") {
					t.Errorf("%s %s: exit %d\n%s%s", s.who.Name, s.args, code, out, errOut)
				}
				if code == 0 && (!strings.Contains(out, `| DELETE FROM orders -- \u202e`) || !strings.Contains(out, `$1 = a\x1b[2J`)) {
					t.Errorf("does not show what was decided on, safely:\n%s", out)
				}
			}
			var got []string
			for _, d := range stored(t, request).Status.Decisions {
				got = append(got, d.Approver+" "+string(d.Decision))
				if d.Time == nil || len(d.Groups) == 0 {
					t.Errorf("decision %+v is not complete", d)
				}
			}
			if strings.Join(got, ",") != strings.Join(c.want, ",") {
				t.Errorf("decisions %v, want %v", got, c.want)
			}
		})
	}
}

// TestDecideGrant shows and decides a request about a grant.
func TestDecideGrant(t *testing.T) {
	r := newRequest("agrant", 1)
	r.Spec.Kind, r.Spec.Command = v1alpha1.RequestGrant, v1alpha1.ApprovalCommand{}
	need := func(group string) v1alpha1.ApprovalNeed {
		return v1alpha1.ApprovalNeed{AnyOf: []v1alpha1.ApprovalQuorum{{Required: 1, Approvers: []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: group}}}}}
	}
	r.Spec.Grant = &v1alpha1.ApprovalGrant{Text: "reason: OPS-1423\nduration: 30m\n", Digest: strings.Repeat("0", 64),
		Subject: v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "una"}, Needs: []v1alpha1.ApprovalNeed{need("dba"), need("security")}}
	r.Spec.Approvers = append(r.Spec.Approvers, v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: "security"})
	if err := as(t, apiserver.User{Name: apiserver.Operator}).Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := plugin(dora, "requests"); code != 0 || !strings.Contains(out, `grant {"duration":"30m"}`) || !strings.Contains(out, "Pending") {
		t.Errorf("exit %d\n%s", code, out)
	}
	if code, out, _ := plugin(dora, "approve", "agrant"); code != 0 || !strings.Contains(out, "| duration: 30m") {
		t.Errorf("exit %d\n%s", code, out)
	}
	// One approval is as many as the least need, but another need is not met.
	if code, out, _ := plugin(dora, "requests"); code != 0 || !strings.Contains(out, "agrant") {
		t.Errorf("the request does not wait any more: exit %d\n%s", code, out)
	}
}

func stored(t *testing.T, name string) *v1alpha1.ApprovalRequest {
	t.Helper()
	r := &v1alpha1.ApprovalRequest{}
	if err := as(t, apiserver.User{Name: "root", Groups: []string{"system:masters"}}).Get(t.Context(), client.ObjectKey{Namespace: gate, Name: name}, r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestApproversAtTheSameTime(t *testing.T) {
	if err := as(t, proxy).Create(t.Context(), newRequest("race", 3)); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for _, who := range []string{"ann", "ben", "cleo"} {
		wg.Go(func() {
			if code, out, errOut := plugin(apiserver.User{Name: who, Groups: []string{"dba"}}, "approve", "race"); code != 0 {
				t.Errorf("%s: %s%s", who, out, errOut)
			}
		})
	}
	wg.Wait()
	if n := len(stored(t, "race").Status.Decisions); n != 3 {
		t.Errorf("%d decisions", n)
	}
}

func TestRequests(t *testing.T) {
	withdrawn := newRequest("gone", 1)
	for _, r := range []*v1alpha1.ApprovalRequest{newRequest("waits", 1), withdrawn} {
		if err := as(t, proxy).Create(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	withdrawn.Status.WithdrawnAt = &withdrawn.CreationTimestamp
	if err := as(t, proxy).Status().Update(t.Context(), withdrawn); err != nil {
		t.Fatal(err)
	}
	_, out, errOut := plugin(dora, "requests")
	if !strings.Contains(out, "waits") || strings.Contains(out, "gone") || !strings.Contains(out, `DELETE FROM orders -- \u202e`) {
		t.Errorf("%s%s", out, errOut)
	}
	if _, out, _ := plugin(dora, "requests", "--all", "-A", "-o", "wide"); !strings.Contains(out, "gone") || !strings.Contains(out, "Withdrawn") || !strings.Contains(out, "NAMESPACE") {
		t.Errorf("--all:\n%s", out)
	}
}

func TestWatchRequests(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	r, w := io.Pipe()
	cmd := access.New(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: w, ErrOut: io.Discard})
	cmd.SetArgs([]string{"requests", "--watch", "--kubeconfig=" + kubeconfig})
	done := make(chan error)
	go func() {
		done <- cmd.ExecuteContext(ctx)
		_ = w.Close()
	}()
	lines := bufio.NewScanner(r)
	expect := func(words ...string) {
		t.Helper()
		for lines.Scan() {
			found := 0
			for _, word := range words {
				if strings.Contains(lines.Text(), word) {
					found++
				}
			}
			if found == len(words) {
				return
			}
		}
		t.Fatalf("the watch ended without a line with %q", words)
	}
	expect("NAME", "COMMAND")
	if err := as(t, proxy).Create(ctx, newRequest("comes", 1)); err != nil {
		t.Fatal(err)
	}
	expect("comes", "Pending", "0/1")
	if code, out, errOut := plugin(dora, "deny", "comes"); code != 0 {
		t.Fatal(out, errOut)
	}
	expect("comes", "Denied")
	cancel()
	go func() { _, _ = io.Copy(io.Discard, r) }()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRevoke(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	if err := as(t, alice).Create(ctx, newGrant()); err != nil {
		t.Fatal(err)
	}
	if code, out, errOut := plugin(apiserver.User{}, "grants", "-o", "wide"); code != 0 || !strings.Contains(out, "report-agent   report-agent   orders-db   Pending") {
		t.Errorf("exit %d\n%s%s", code, out, errOut)
	}
	for range 2 {
		if code, out, errOut := plugin(apiserver.User{}, "revoke", "report-agent"); code != 0 || !strings.Contains(out, "revoked") {
			t.Fatalf("exit %d\n%s%s", code, out, errOut)
		}
	}
	g := &v1alpha1.AccessGrant{}
	if err := as(t, operator).Get(ctx, client.ObjectKey{Namespace: gate, Name: "report-agent"}, g); err != nil || g.Spec.DesiredState != v1alpha1.GrantRevoked {
		t.Errorf("%v, %v", g.Spec.DesiredState, err)
	}
}
