package kubernetes

import (
	"strings"
	"testing"
)

// Who looks for Helm's releases where these are masked is told so, for Helm would say that there
// are none.
func TestHelmIsToldThatReleasesAreMasked(t *testing.T) {
	for secrets, told := range map[string]bool{"Masked": true, "Readable": false} {
		t.Run(secrets, func(t *testing.T) {
			g := start(t, "writer", "    secrets: "+secrets+"\n")
			for path, mine := range map[string]bool{
				"secrets?labelSelector=name%3Dweb%2Cowner%3Dhelm": true, "secrets?labelSelector=owner%3Dhelm": true, "secrets?labelSelector=owner%21%3Dhelm": false,
				"secrets": false, "configmaps?labelSelector=owner%3Dhelm": false, "secrets/helm?labelSelector=owner%3Dhelm": false,
			} {
				_, answer := g.ask(t, "GET", "/api/v1/namespaces/shop/"+path, "", "application/json", "")
				if got := strings.Contains(string(answer), "Helm keeps in Secrets are masked"); got != (told && mine) {
					t.Errorf("%s: %s", path, answer)
				}
			}
		})
	}
}
