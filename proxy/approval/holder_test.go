package approval

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
)

var errBroken = errors.New("connection reset")

func question(mode v1alpha1.WhilePending) Question {
	g := &v1alpha1.AccessGrant{}
	g.Namespace, g.Name, g.UID, g.Generation = "shop-gate", "agent", "grant-uid", 3
	g.Annotations = map[string]string{v1alpha1.AnnotationCreatedBy: "creator"}
	g.Spec.Subject = v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "shop", Name: "agent"}
	g.Spec.Reason = "OPS-1"
	tg := &v1alpha1.Target{}
	tg.Namespace, tg.Name, tg.UID, tg.Generation = "shop-gate", "orders-db", "target-uid", 2
	return Question{
		Admission: &policy.Admission{Grant: g, Target: tg, ExpiresAt: time.Now().Add(time.Hour)},
		Session:   "session-1",
		Decision: policy.Decision{Action: policy.RequireApproval,
			Rule: v1alpha1.RuleReference{Kind: "CommandRule", Namespace: "shop-gate", Name: "destructive"},
			Terms: &v1alpha1.ApprovalTerms{Required: 1, Timeout: metav1.Duration{Duration: 10 * time.Minute},
				Approvers:    []v1alpha1.Subject{{Kind: v1alpha1.SubjectGroup, Name: "dba"}},
				WhilePending: mode, InTransaction: v1alpha1.PendingReject}},
		Engine: "postgres", Text: "DELETE FROM orders", Parameters: []string{"1"},
		Context: map[string]string{"database": "orders"}, Digest: strings.Repeat("a", 64),
	}
}

// codeOf returns the code of a refusal, "context" for the end of a context, "ok" for nil.
func codeOf(err error) string {
	refusal := new(policy.Refusal)
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &refusal):
		return string(refusal.Code)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return "context"
	}
	return err.Error()
}

func TestWait(t *testing.T) {
	tests := map[string]struct {
		alter func(*Question)
		act   func(t *testing.T, m *memory, name string, cancel func())
		want  string
		// withdrawn says that the request must end withdrawn.
		withdrawn bool
	}{
		"approved": {act: func(t *testing.T, m *memory, name string, _ func()) { m.change(t, name, approve("ann")) }, want: "ok"},
		"denied": {act: func(t *testing.T, m *memory, name string, _ func()) {
			m.change(t, name, decide("ann", v1alpha1.DecisionDenied, "dba"))
		}, want: "CDA-3002"},
		"denial wins over approvals": {alter: func(q *Question) { q.Decision.Terms.Required = 1 }, act: func(t *testing.T, m *memory, name string, _ func()) {
			m.change(t, name, func(r *v1alpha1.ApprovalRequest) {
				approve("ann")(r)
				decide("bob", v1alpha1.DecisionDenied, "dba")(r)
			})
		}, want: "CDA-3002"},
		"nobody answers":                {want: "CDA-3003"},
		"requester approves":            {act: approvedBy("system:serviceaccount:shop:agent"), want: "CDA-3003"},
		"creator approves":              {act: approvedBy("creator"), want: "CDA-3003"},
		"product approves":              {act: approvedBy("cardea:operator"), want: "CDA-3003"},
		"ServiceAccount by group alone": {act: approvedBy("system:serviceaccount:ci:bot"), want: "CDA-3003"},
		"no group": {act: func(t *testing.T, m *memory, name string, _ func()) {
			m.change(t, name, decide("ann", v1alpha1.DecisionApproved))
		}, want: "CDA-3003"},
		"unknown decision": {act: func(t *testing.T, m *memory, name string, _ func()) {
			m.change(t, name, decide("ann", "", "dba"))
		}, want: "CDA-3003"},
		"approved twice by one": {alter: func(q *Question) { q.Decision.Terms.Required = 2 }, act: func(t *testing.T, m *memory, name string, _ func()) {
			m.change(t, name, approve("ann"))
			m.change(t, name, approve("ann"))
		}, want: "CDA-3003"},
		"approved by two": {alter: func(q *Question) { q.Decision.Terms.Required = 2 }, act: func(t *testing.T, m *memory, name string, _ func()) {
			m.change(t, name, approve("ann"))
			synctest.Wait()
			m.change(t, name, approve("bob"))
		}, want: "ok"},
		"client goes": {act: func(_ *testing.T, _ *memory, _ string, cancel func()) { cancel() }, want: "context", withdrawn: true},
		"deleted":     {act: func(_ *testing.T, m *memory, name string, _ func()) { m.remove(name) }, want: "CDA-3004"},
		"replaced": {act: func(t *testing.T, m *memory, name string, _ func()) {
			m.change(t, name, func(r *v1alpha1.ApprovalRequest) { r.UID = "other"; approve("ann")(r) })
		}, want: "CDA-3004", withdrawn: true},
		"spec altered": {act: func(t *testing.T, m *memory, name string, _ func()) {
			m.change(t, name, func(r *v1alpha1.ApprovalRequest) { r.Spec.Command.Digest = strings.Repeat("b", 64); approve("ann")(r) })
		}, want: "CDA-3004"},
		"approvers widened": {act: func(t *testing.T, m *memory, name string, _ func()) {
			m.change(t, name, func(r *v1alpha1.ApprovalRequest) {
				r.Spec.Approvers = append(r.Spec.Approvers, v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: "eve"})
				approve("eve")(r)
			})
		}, want: "CDA-3004"},
		"consumed by another": {act: func(t *testing.T, m *memory, name string, _ func()) {
			m.change(t, name, func(r *v1alpha1.ApprovalRequest) {
				approve("ann")(r)
				r.Status.Consumed = &v1alpha1.ApprovalConsumption{Session: "session-1", Time: metav1.NewTime(time.Now())}
			})
		}, want: "CDA-3004"},
		"withdrawn": {act: func(t *testing.T, m *memory, name string, _ func()) {
			m.change(t, name, func(r *v1alpha1.ApprovalRequest) {
				approve("ann")(r)
				now := metav1.NewTime(time.Now())
				r.Status.WithdrawnAt = &now
			})
		}, want: "CDA-3004", withdrawn: true},
		"API server gone at release": {act: func(t *testing.T, m *memory, name string, _ func()) {
			m.failGet = func() error { return errBroken }
			m.change(t, name, approve("ann"))
		}, want: "CDA-3004"},
		"listing fails but reading works": {act: func(t *testing.T, m *memory, name string, _ func()) {
			m.failList = func() error { return errBroken }
			m.change(t, name, approve("ann"))
		}, want: "ok"},
		"grant ends first": {alter: func(q *Question) { q.Admission.ExpiresAt = time.Now().Add(time.Minute) }, want: "CDA-3003"},
		"in a transaction": {alter: func(q *Question) { q.InTransaction = true }, want: "CDA-3001"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				h := NewHolder(m, clock.RealClock{})
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				q := question(v1alpha1.PendingWait)
				if tc.alter != nil {
					tc.alter(&q)
				}
				told := 0
				q.Pending = func(string, time.Time) error { told++; return nil }
				done := make(chan error)
				go func() { _, err := h.Await(ctx, q); done <- err }()
				synctest.Wait()
				if tc.act != nil {
					tc.act(t, m, m.only(t).Name, cancel)
				}
				err := <-done
				if got := codeOf(err); got != tc.want {
					t.Fatalf("Await() = %v, want %s", err, tc.want)
				}
				if err != nil && strings.Contains(err.Error(), "\x1b") {
					t.Errorf("the refusal holds control characters: %q", err)
				}
				if rs := m.all(); tc.withdrawn && len(rs) == 1 && rs[0].UID != "other" && rs[0].Status.WithdrawnAt == nil {
					t.Error("the request was not withdrawn")
				}
				if want := tc.want == "ok"; want != (m.consumed == 1) {
					t.Errorf("%d consumptions", m.consumed)
				}
				if told > 1 {
					t.Errorf("the client was told %d times", told)
				}
			})
		})
	}
}

func approvedBy(user string) func(*testing.T, *memory, string, func()) {
	return func(t *testing.T, m *memory, name string, _ func()) { m.change(t, name, approve(user)) }
}

func TestWaitSpec(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory()
		q := question(v1alpha1.PendingWait)
		q.Pending = func(string, time.Time) error { return errBroken }
		if _, err := NewHolder(m, clock.RealClock{}).Await(t.Context(), q); !errors.Is(err, errBroken) {
			t.Fatalf("Await() = %v, want the client's error", err)
		}
		r := m.only(t)
		want := v1alpha1.ApprovalRequestSpec{
			Kind:      v1alpha1.RequestCommand,
			GrantRef:  v1alpha1.ObjectIdentity{Name: "agent", UID: "grant-uid", Generation: 3},
			TargetRef: v1alpha1.ObjectIdentity{Name: "orders-db", UID: "target-uid", Generation: 2},
			Requester: "system:serviceaccount:shop:agent", GrantCreator: "creator", Reason: "OPS-1", Session: "session-1",
			Rule: q.Decision.Rule,
			Command: v1alpha1.ApprovalCommand{Engine: "postgres", Text: "DELETE FROM orders", Parameters: []string{"1"},
				Digest: q.Digest, Context: map[string]v1alpha1.ContextValue{"database": "orders"}},
			Required: 1, Approvers: q.Decision.Terms.Approvers, ExpiresAt: metav1.NewTime(time.Now().Add(10 * time.Minute)),
		}
		if diff := cmp.Diff(want, r.Spec); diff != "" {
			t.Errorf("spec (-want +got):\n%s", diff)
		}
		if len(r.Name) != 5 || r.Namespace != "shop-gate" || r.Status.WithdrawnAt == nil {
			t.Errorf("request %s/%s, withdrawn %v", r.Namespace, r.Name, r.Status.WithdrawnAt)
		}
	})
}

func TestReject(t *testing.T) {
	tests := map[string]struct {
		lag   bool
		alter func(*Question) // of the second command
		act   func(t *testing.T, m *memory, name string)
		want  string
		asked int // requests in the end
	}{
		"still pending":        {want: "CDA-3001", asked: 1},
		"pending, not listed":  {lag: true, want: "CDA-3001", asked: 1},
		"approved":             {act: func(t *testing.T, m *memory, n string) { m.change(t, n, approve("ann")) }, want: "ok", asked: 1},
		"approved, not listed": {lag: true, act: func(t *testing.T, m *memory, n string) { m.change(t, n, approve("ann")) }, want: "ok", asked: 1},
		"in another session":   {alter: func(q *Question) { q.Session = "session-2" }, act: func(t *testing.T, m *memory, n string) { m.change(t, n, approve("ann")) }, want: "ok", asked: 1},
		"denied":               {act: func(t *testing.T, m *memory, n string) { m.change(t, n, decide("ann", v1alpha1.DecisionDenied)) }, want: "CDA-3002", asked: 1},
		"deleted":              {act: func(_ *testing.T, m *memory, n string) { m.remove(n) }, want: "CDA-3001", asked: 1},
		"another command":      {alter: func(q *Question) { q.Digest = strings.Repeat("c", 64) }, act: func(t *testing.T, m *memory, n string) { m.change(t, n, approve("ann")) }, want: "CDA-3001", asked: 2},
		"another grant": {alter: func(q *Question) {
			g := *q.Admission.Grant
			g.UID = "new"
			a := *q.Admission
			a.Grant = &g
			q.Admission = &a
		}, act: func(t *testing.T, m *memory, n string) { m.change(t, n, approve("ann")) }, want: "CDA-3001", asked: 2},
		"another target": {alter: func(q *Question) {
			g := *q.Admission.Target
			g.Generation++
			a := *q.Admission
			a.Target = &g
			q.Admission = &a
		}, act: func(t *testing.T, m *memory, n string) { m.change(t, n, approve("ann")) }, want: "CDA-3001", asked: 2},
		"stricter rule": {alter: func(q *Question) { tm := *q.Decision.Terms; tm.Required = 2; q.Decision.Terms = &tm }, act: func(t *testing.T, m *memory, n string) { m.change(t, n, approve("ann")) }, want: "CDA-3001", asked: 2},
		"bound to a session": {act: func(t *testing.T, m *memory, n string) {
			m.change(t, n, func(r *v1alpha1.ApprovalRequest) { r.Spec.Session = "session-1"; approve("ann")(r) })
		}, want: "CDA-3001", asked: 2},
		"approved and lapsed": {act: func(t *testing.T, m *memory, n string) {
			m.change(t, n, approve("ann"))
			<-time.After(10 * time.Minute)
		}, want: "CDA-3001", asked: 2},
		"lapses far too late": {act: func(t *testing.T, m *memory, n string) {
			m.change(t, n, func(r *v1alpha1.ApprovalRequest) {
				r.Spec.ExpiresAt = metav1.NewTime(time.Now().Add(48 * time.Hour))
				approve("ann")(r)
			})
		}, want: "CDA-3001", asked: 2},
		"approved by requester": {act: func(t *testing.T, m *memory, n string) { m.change(t, n, approve("system:serviceaccount:shop:agent")) }, want: "CDA-3001", asked: 1},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMemory()
				m.lag = tc.lag
				h := NewHolder(m, clock.RealClock{})
				q := question(v1alpha1.PendingReject)
				_, err := h.Await(t.Context(), q)
				refusal := new(policy.Refusal)
				if !errors.As(err, &refusal) || refusal.Code != policy.CodeApprovalPending || refusal.Request != m.only(t).Name {
					t.Fatalf("first Await() = %v, want CDA-3001 naming the request", err)
				}
				if tc.act != nil {
					tc.act(t, m, refusal.Request)
				}
				if tc.alter != nil {
					tc.alter(&q)
				}
				if _, err = h.Await(t.Context(), q); codeOf(err) != tc.want {
					t.Fatalf("second Await() = %v, want %s", err, tc.want)
				}
				if got := len(m.all()); got != tc.asked {
					t.Errorf("%d requests, want %d", got, tc.asked)
				}
				if tc.want == "ok" {
					if _, err := h.Await(t.Context(), q); codeOf(err) != "CDA-3001" {
						t.Errorf("third Await() = %v, want CDA-3001: an approval passes a command once", err)
					}
				}
			})
		})
	}
}

func TestPendingBound(t *testing.T) {
	for _, lag := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			m := newMemory()
			m.lag = lag
			h := NewHolder(m, clock.RealClock{})
			ctx, cancel := context.WithCancel(t.Context())
			codes := make(chan string, 32)
			for range 16 {
				go func() {
					_, err := h.Await(ctx, question(v1alpha1.PendingWait))
					codes <- codeOf(err)
				}()
			}
			synctest.Wait()
			if n := len(m.all()); n != MaxPending {
				t.Fatalf("%d requests, want %d", n, MaxPending)
			}
			for range 6 {
				if c := <-codes; c != "CDA-1012" {
					t.Errorf("refused with %s, want CDA-1012", c)
				}
			}
			cancel()
			for range MaxPending {
				if c := <-codes; c != "context" {
					t.Errorf("ended with %s, want the context's error", c)
				}
			}
			m.mu.Lock()
			m.publish()
			m.mu.Unlock()
			ctx2, cancel2 := context.WithCancel(t.Context())
			go func() { _, err := h.Await(ctx2, question(v1alpha1.PendingWait)); codes <- codeOf(err) }()
			synctest.Wait()
			if n := len(m.all()); n != MaxPending+1 {
				t.Errorf("withdrawn requests still count: %d requests", n)
			}
			cancel2()
			<-codes
		})
	}
}

func TestAwaitRefusesWhatCannotBeAsked(t *testing.T) {
	long := strings.Repeat("x", 5000)
	tests := map[string]struct {
		alter func(*Question)
		set   func(*memory)
	}{
		"no terms":            {alter: func(q *Question) { q.Decision.Terms = nil }},
		"another action":      {alter: func(q *Question) { q.Decision.Action = policy.Deny }},
		"no mode":             {alter: func(q *Question) { q.Decision.Terms.WhilePending = "" }},
		"no admission":        {alter: func(q *Question) { q.Admission = nil }},
		"no digest":           {alter: func(q *Question) { q.Digest = "" }},
		"no session":          {alter: func(q *Question) { q.Session = "" }},
		"nobody required":     {alter: func(q *Question) { q.Decision.Terms.Required = 0 }},
		"no requester":        {alter: func(q *Question) { q.Admission.Grant.Spec.Subject = v1alpha1.Subject{} }},
		"terminal control":    {alter: func(q *Question) { q.Text = "DELETE\x1b[2K FROM orders" }},
		"reordered text":      {alter: func(q *Question) { q.Text = "DELETE \u202e FROM orders" }},
		"not UTF-8":           {alter: func(q *Question) { q.Text = "DELETE \xff" }},
		"text too long":       {alter: func(q *Question) { q.Text = strings.Repeat(long, 5) }},
		"parameter too long":  {alter: func(q *Question) { q.Parameters = []string{long} }},
		"hidden in parameter": {alter: func(q *Question) { q.Parameters = []string{"a\u200bb"} }},
		"too many parameters": {alter: func(q *Question) { q.Parameters = make([]string, 257) }},
		"context too long":    {alter: func(q *Question) { q.Context["role"] = long }},
		"grant about to end":  {alter: func(q *Question) { q.Admission.ExpiresAt = time.Now() }},
		"API server down":     {set: func(m *memory) { m.failCreate = func() error { return errBroken } }},
		"no listing":          {set: func(m *memory) { m.failList = func() error { return errBroken } }},
		"creation unknown":    {set: func(m *memory) { m.afterCreate = func() error { return errBroken } }},
		"stored with another content": {set: func(m *memory) {
			m.afterCreate = func() error {
				for _, r := range m.stored {
					r.Spec.Required = 7
				}
				return nil
			}
		}},
	}
	for name, tc := range tests {
		for _, mode := range []v1alpha1.WhilePending{v1alpha1.PendingWait, v1alpha1.PendingReject} {
			t.Run(name+"/"+string(mode), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					m := newMemory()
					q := question(mode)
					if tc.alter != nil {
						tc.alter(&q)
					}
					if tc.set != nil {
						tc.set(m)
					}
					if _, err := NewHolder(m, clock.RealClock{}).Await(t.Context(), q); codeOf(err) != "CDA-3004" {
						t.Fatalf("Await() = %v, want CDA-3004", err)
					}
					for _, r := range m.all() {
						if r.Status.WithdrawnAt == nil && r.Spec.Required == 1 {
							t.Errorf("request %s stays open", r.Name)
						}
					}
				})
			})
		}
	}
}
