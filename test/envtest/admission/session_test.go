package admission

import (
	"testing"

	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

// TestSessions tries who may make up, change and end a Session.
func TestSessions(t *testing.T) {
	admit(t, map[string]want{
		"made by the proxy":        {proxy, ""},
		"made by another proxy":    {otherProxy, denied},
		"made by the operator":     {operator, "only the proxy of namespace"},
		"made by an administrator": {admin, "only the proxy of namespace"},
	}, func(u apiserver.User) error { return create(t.Context(), u, apiserver.Object(session, "")) })

	cases := map[string]struct {
		as        apiserver.User
		patch     string
		wantError string
	}{
		"ended by an administrator": {admin, `{spec: {desiredState: Terminated}}`, ""},
		"labelled":                  {admin, `{metadata: {labels: {a: b}}}`, "a Session is evidence"},
		"put under legal hold":      {admin, `{metadata: {labels: {access.cardea.dev/legal-hold: case-17}}}`, ""},
		"held, and labelled":        {admin, `{metadata: {labels: {access.cardea.dev/legal-hold: case-17, a: b}}}`, "a Session is evidence"},
		"annotated":                 {admin, `{metadata: {annotations: {a: b}}}`, "a Session is evidence"},
		"owned":                     {admin, `{metadata: {ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: x, uid: x}]}}`, "a Session is evidence"},
		"held back":                 {admin, `{metadata: {finalizers: [example.com/keep]}}`, "a Session is evidence"},
		"moved to another client":   {admin, `{spec: {client: 10.9.9.9}}`, "only desiredState of a Session may change"},
		"labelled by the proxy":     {proxy, `{metadata: {labels: {a: b}}}`, ""},
		"rewritten by the proxy":    {proxy, `{spec: {grantRef: {name: other}}}`, "only desiredState of a Session may change"},
		"labelled by another proxy": {otherProxy, `{metadata: {labels: {a: b}}}`, denied},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := store(t, proxy, apiserver.Object(session, ""))
			refused(t, patch(t.Context(), c.as, o, c.patch), c.wantError)
		})
	}
}

// TestSessionStatus tries to rewrite what a session did.
func TestSessionStatus(t *testing.T) {
	const (
		open     = `{recording: {segments: 2, digest: aa, state: Open}}`
		grown    = `{recording: {segments: 3, digest: bb, state: Open}}`
		complete = `{recording: {segments: 3, digest: bb, state: Complete}, commands: {forwarded: 4}}`
	)
	cases := map[string][]step{
		"its whole life":              {{proxy, `{commands: {forwarded: 1}}`, ""}, {proxy, open, ""}, {proxy, grown, ""}, {proxy, complete, ""}, {operator, condition("Ready", "False", "Ended"), ""}},
		"cut by the operator":         {{proxy, open, ""}, {operator, `{recording: {state: Cut}}`, ""}},
		"cut, then shipped after all": {{proxy, open, ""}, {operator, `{recording: {state: Cut}}`, ""}, {proxy, complete, ""}},
		"segments taken away":         {{proxy, grown, ""}, {proxy, open, "a recording only grows"}, {operator, `{recording: null}`, "a recording only grows"}},
		"another digest":              {{proxy, open, ""}, {proxy, `{recording: {digest: cc}}`, "does not change"}, {proxy, `{recording: {digest: null}}`, "does not change"}},
		"after it is complete":        {{proxy, complete, ""}, {proxy, `{recording: {segments: 9, digest: ee}}`, "a complete recording does not change"}},
		"by an administrator":         {{admin, `{commands: {denied: 0}}`, "only the session's proxy and the operator"}, {admin, open, "only the session's proxy"}},
		"by another proxy":            {{otherProxy, open, denied}},
	}
	for name, steps := range cases {
		t.Run(name, func(t *testing.T) {
			o := store(t, proxy, apiserver.Object(session, ""))
			for _, s := range steps {
				refused(t, patchStatus(t.Context(), s.as, o, s.patch), s.error)
			}
		})
	}
}
