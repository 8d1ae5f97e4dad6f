package access

import (
	"bufio"
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

func TestQuestions(t *testing.T) {
	database := &v1alpha1.Target{Spec: v1alpha1.TargetSpec{Postgres: &v1alpha1.PostgresTarget{}}}
	host := &v1alpha1.Target{Spec: v1alpha1.TargetSpec{SSH: &v1alpha1.SSHTarget{Logins: []string{"deploy"}}}}
	api := &v1alpha1.Target{Spec: v1alpha1.TargetSpec{Kubernetes: &v1alpha1.KubernetesTarget{Roles: []v1alpha1.RoleReference{{Kind: v1alpha1.RoleKindRole, Name: "dev"}}}}}
	for name, tc := range map[string]struct {
		target  *v1alpha1.Target
		given   asking
		answers string
		want    asking
		asks    string
		err     string
	}{
		"a database":      {target: database, answers: "orders, report_*\n\n90m\nOPS-1\n", want: asking{databases: []string{"orders", "report_*"}, access: "ReadOnly", duration: 90 * time.Minute, reason: "OPS-1"}},
		"until it fits":   {target: database, answers: "\norders\nReadWrite\nsoon\n-1h\n2h\n\nwhy\n", want: asking{databases: []string{"orders"}, access: "ReadWrite", duration: 2 * time.Hour, reason: "why"}, asks: "write it like"},
		"what is left":    {target: database, given: asking{databases: []string{"x"}, until: "then", access: "Full"}, answers: "why\n", want: asking{databases: []string{"x"}, until: "then", access: "Full", reason: "why"}},
		"a host":          {target: host, answers: "\n\n\nwhy\n", want: asking{logins: []string{"deploy"}, channels: []string{"Exec"}, duration: time.Hour, reason: "why"}, asks: "Logins [deploy]: "},
		"a cluster":       {target: api, answers: "shop\n\nGated\n\nwhy\n", want: asking{namespaces: []string{"shop"}, role: "Role/dev", exec: "Gated", duration: time.Hour, reason: "why"}},
		"one not known":   {answers: "1h\nwhy\n", want: asking{duration: time.Hour, reason: "why"}},
		"nobody is there": {target: database, answers: "orders\n", want: asking{databases: []string{"orders"}}, err: "give it as a flag"},
	} {
		t.Run(name, func(t *testing.T) {
			var said bytes.Buffer
			err := tc.given.askWhat(&questions{from: bufio.NewReader(strings.NewReader(tc.answers)), to: &said}, tc.target)
			if (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, tc.given, cmp.AllowUnexported(asking{})); diff != "" {
				t.Error(diff)
			}
			if !strings.Contains(said.String(), tc.asks) {
				t.Errorf("it says %q", said.String())
			}
		})
	}
}
