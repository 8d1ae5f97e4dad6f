package approval

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

var (
	people = []string{"", "ada", "bob", "cy", "dora", "system:serviceaccount:shop:agent", "system:serviceaccount:ops:robot", "cardea:proxy", "requester", "creator"}
	teams  = []string{"dba", "sre", "", "system:authenticated"}
	lapses = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
)

func randomRequest(r *rand.Rand) *v1alpha1.ApprovalRequest {
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	q := &v1alpha1.ApprovalRequest{Spec: v1alpha1.ApprovalRequestSpec{Requester: "requester", Required: r.Int32N(4) - 1, ExpiresAt: metav1.NewTime(lapses)}}
	if r.IntN(2) == 0 {
		q.Spec.GrantCreator = "creator"
	}
	for range r.IntN(4) {
		switch r.IntN(4) {
		case 0:
			q.Spec.Approvers = append(q.Spec.Approvers, v1alpha1.Subject{Kind: v1alpha1.SubjectUser, Name: pick(people)})
		case 1:
			q.Spec.Approvers = append(q.Spec.Approvers, v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: "ops", Name: "robot"})
		case 2:
			q.Spec.Approvers = append(q.Spec.Approvers, v1alpha1.Subject{Kind: v1alpha1.SubjectGroup, Name: pick(teams)})
		default:
			q.Spec.Approvers = append(q.Spec.Approvers, v1alpha1.Subject{Kind: "Everybody", Name: pick(people)})
		}
	}
	for range r.IntN(6) {
		d := v1alpha1.ApprovalDecision{Approver: pick(people), Decision: v1alpha1.DecisionApproved, Comment: "Denied"}
		switch r.IntN(10) {
		case 0:
			d.Decision = v1alpha1.DecisionDenied
		case 1:
			d.Decision = ""
		case 2:
			d.Decision = "approved"
		}
		for range r.IntN(3) {
			d.Groups = append(d.Groups, pick(teams))
		}
		if r.IntN(2) == 0 {
			at := metav1.NewTime(lapses.Add(time.Duration(r.IntN(5)-2) * time.Second))
			d.Time = &at
		}
		q.Status.Decisions = append(q.Status.Decisions, d)
	}
	return q
}

// mayApprove says in other words than the product who may approve.
func mayApprove(s v1alpha1.ApprovalRequestSpec, d v1alpha1.ApprovalDecision) bool {
	switch name := d.Approver; {
	case name == "", name == "requester", name == "creator" && s.GrantCreator == "creator", strings.HasPrefix(name, "cardea:"):
		return false
	case d.Time != nil && d.Time.Time.Sub(lapses) > 0:
		return false
	}
	robot := strings.HasPrefix(d.Approver, "system:serviceaccount:")
	for _, a := range s.Approvers {
		byName := a.Kind == v1alpha1.SubjectUser && a.Name == d.Approver || a.Kind == v1alpha1.SubjectServiceAccount && d.Approver == "system:serviceaccount:"+a.Namespace+":"+a.Name
		byGroup := a.Kind == v1alpha1.SubjectGroup && a.Name != "" && !robot && slices.Contains(d.Groups, a.Name)
		if byName || byGroup {
			return true
		}
	}
	return false
}

// TestTallyProperties holds the tally to its definition, and to what no definition may
// break: the order of decisions means nothing, a denial is final, and an approval by
// nobody who may approve changes nothing.
func TestTallyProperties(t *testing.T) {
	approved := 0
	for seed := range uint64(20000) {
		r := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // to be repeated
		q := randomRequest(r)
		v := tally(q)
		names, denied := map[string]bool{}, false
		for _, d := range q.Status.Decisions {
			denied = denied || d.Decision == v1alpha1.DecisionDenied
			if d.Decision == v1alpha1.DecisionApproved && mayApprove(q.Spec, d) {
				names[d.Approver] = true
			}
		}
		want := !denied && q.Spec.Required >= 1 && len(names) >= int(q.Spec.Required)
		if v.approved != want || v.denied != denied || v.approved && v.denied || !denied && len(v.approvers) != len(names) {
			t.Fatalf("seed %d: tally = %+v, want approved %t, denied %t by %v", seed, v, want, denied, names)
		}
		if v.approved {
			approved++
		}
		shuffled := q.DeepCopy()
		r.Shuffle(len(shuffled.Status.Decisions), func(i, j int) {
			d := shuffled.Status.Decisions
			d[i], d[j] = d[j], d[i]
		})
		if w := tally(shuffled); w.approved != v.approved || w.denied != v.denied || !slices.Equal(w.approvers, v.approvers) {
			t.Fatalf("seed %d: the order of decisions matters: %+v and %+v", seed, v, w)
		}
		more := q.DeepCopy()
		more.Status.Decisions = append(more.Status.Decisions, v1alpha1.ApprovalDecision{Approver: "requester", Groups: teams, Decision: v1alpha1.DecisionApproved},
			v1alpha1.ApprovalDecision{Approver: "cardea:operator", Groups: teams, Decision: v1alpha1.DecisionApproved})
		if w := tally(more); w.approved != v.approved {
			t.Fatalf("seed %d: the requester approved", seed)
		}
		more.Status.Decisions = append(more.Status.Decisions, v1alpha1.ApprovalDecision{Approver: "anybody", Decision: v1alpha1.DecisionDenied})
		if w := tally(more); w.approved || !w.denied {
			t.Fatalf("seed %d: a denial behind approvals decides nothing", seed)
		}
	}
	if approved < 100 {
		t.Errorf("only %d of the requests were approved: the test shows little", approved)
	}
}
