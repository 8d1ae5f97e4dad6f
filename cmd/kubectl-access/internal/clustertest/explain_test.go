package clustertest

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

// TestExplainReadsTheCluster has rules of the gate and of the root namespace decide.
func TestExplainReadsTheCluster(t *testing.T) {
	admin := as(t, apiserver.User{})
	target := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Namespace: gate, Name: "explained", Labels: map[string]string{"explain": "yes"}}}
	target.Spec.Postgres = &v1alpha1.PostgresTarget{Host: "db", Login: &v1alpha1.UpstreamLogin{SecretRef: v1alpha1.ObjectName{Name: "login"}}}
	rule := &v1alpha1.CommandRule{ObjectMeta: metav1.ObjectMeta{Namespace: gate, Name: "explained"}}
	rule.Spec = v1alpha1.CommandRuleSpec{TargetSelector: metav1.LabelSelector{MatchLabels: map[string]string{"explain": "yes"}}, Action: v1alpha1.ActionDeny,
		Match: []v1alpha1.CommandMatch{{SQL: &v1alpha1.SQLMatch{Expression: "statement.count > 1"}}}}
	if err := admin.Create(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	if err := admin.Create(t.Context(), rule); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PGHOST", "")
	for sql, want := range map[string]int{"SELECT 1": 0, "SELECT 1; SELECT 2": 3} {
		if code, out, errOut := plugin(apiserver.User{}, "explain", "--target", "explained", sql); code != want || !strings.Contains(out, gate+"/explained") {
			t.Errorf("%s: exit code %d, want %d; %s%s", sql, code, want, out, errOut)
		}
	}
}
