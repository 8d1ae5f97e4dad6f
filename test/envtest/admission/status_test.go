package admission

import (
	"testing"

	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

// TestOperatorStatus tries to write the status that opens and shuts.
func TestOperatorStatus(t *testing.T) {
	kinds := map[string]string{
		"AccessGrant":    grant,
		"MaskingRule":    maskingRule,
		"CommandRule":    commandRule,
		"AccessPolicy":   accessPolicy,
		"RecordingStore": recordingStore,
	}
	for kind, manifest := range kinds {
		t.Run(kind, func(t *testing.T) {
			p := ""
			if kind == "AccessGrant" {
				p = createdBy("alice")
			}
			o := store(t, alice, apiserver.Object(manifest, p))
			admit(t, map[string]want{
				"the operator":                     {operator, ""},
				"a proxy":                          {proxy, denied},
				"an administrator":                 {admin, "only the operator writes it"},
				"the creator":                      {alice, "only the operator writes it"},
				"an operator of another namespace": {apiserver.User{Name: "system:serviceaccount:shop:cardea-operator"}, "only the operator writes it"},
			}, func(u apiserver.User) error {
				return patchStatus(t.Context(), u, o, condition("Ready", "True", "Ready"))
			})
		})
	}
}

// TestTargetStatus tries who writes which condition of a Target.
func TestTargetStatus(t *testing.T) {
	const (
		reachable = `{type: UpstreamReachable, status: "True", reason: Reachable, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}`
		lost      = `{type: UpstreamReachable, status: "False", reason: Unreachable, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}`
		accepted  = `{type: Accepted, status: "True", reason: Accepted, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}`
		rejected  = `{type: Accepted, status: "False", reason: Invalid, message: "", lastTransitionTime: "2026-01-01T00:00:00Z"}`
	)
	cases := map[string][]step{
		"the proxy, from nothing": {{proxy, `{conditions: [` + reachable + `]}`, ""}, {proxy, `{conditions: [` + lost + `]}`, ""}},
		"the operator and the proxy in turn": {
			{operator, `{observedGeneration: 1, conditions: [` + accepted + `]}`, ""},
			{proxy, `{conditions: [` + accepted + `,` + reachable + `]}`, ""},
			{operator, `{observedGeneration: 2, conditions: [` + rejected + `,` + reachable + `]}`, ""},
		},
		"the proxy accepts":                {{proxy, `{conditions: [` + accepted + `]}`, "UpstreamReachable and nothing else"}},
		"the proxy drops a condition":      {{operator, `{conditions: [` + rejected + `]}`, ""}, {proxy, `{conditions: [` + reachable + `]}`, "and nothing else"}},
		"the proxy counts generations":     {{proxy, `{observedGeneration: 7, conditions: [` + reachable + `]}`, "and nothing else"}},
		"the operator claims reachability": {{operator, `{conditions: [` + reachable + `]}`, "only the proxy's account writes UpstreamReachable"}},
		"the operator drops reachability":  {{proxy, `{conditions: [` + reachable + `]}`, ""}, {operator, `{conditions: [` + accepted + `]}`, "only the proxy's account"}},
		"the proxy of another namespace":   {{otherProxy, `{conditions: [` + reachable + `]}`, denied}},
		"an administrator":                 {{admin, `{conditions: [` + accepted + `]}`, "only the operator and the proxy write it"}},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			o := store(t, alice, apiserver.Object(target, ""))
			for _, s := range steps {
				refused(t, patchStatus(t.Context(), s.as, o, s.patch), s.error)
			}
		})
	}
}
