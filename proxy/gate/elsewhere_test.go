package gate

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// A live session ends when its Target leads elsewhere, and not when a limit changes.
func TestElsewhere(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*v1alpha1.PostgresTarget)
		want   bool
	}{
		"nothing":           {func(*v1alpha1.PostgresTarget) {}, false},
		"a limit":           {func(p *v1alpha1.PostgresTarget) { p.StatementTimeout = &metav1.Duration{Duration: time.Minute} }, false},
		"the host":          {func(p *v1alpha1.PostgresTarget) { p.Host = "other" }, true},
		"the login":         {func(p *v1alpha1.PostgresTarget) { p.Login.SecretRef.Name = "other" }, true},
		"a certificate":     {func(p *v1alpha1.PostgresTarget) { p.TLS.ClientCertRef = &v1alpha1.ObjectName{Name: "x"} }, true},
		"the way it trusts": {func(p *v1alpha1.PostgresTarget) { p.TLS.Mode = v1alpha1.TLSVerifyCA }, true},
	} {
		t.Run(name, func(t *testing.T) {
			before := &v1alpha1.PostgresTarget{Host: "db", Port: 5432, Login: &v1alpha1.UpstreamLogin{SecretRef: v1alpha1.ObjectName{Name: "login"}}}
			now := before.DeepCopy()
			test.change(now)
			if got := elsewhere(now, before); got != test.want {
				t.Errorf("elsewhere: %t", got)
			}
		})
	}
	if !elsewhere(nil, &v1alpha1.PostgresTarget{}) || elsewhere(nil, nil) {
		t.Error("a Target without a server")
	}
}
