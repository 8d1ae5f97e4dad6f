package admission

import (
	"testing"

	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

// createdBy is a patch that annotates a grant with its creator.
func createdBy(user string) string {
	return `{metadata: {annotations: {access.cardea.dev/created-by: "` + user + `"}}}`
}

// TestGrantCreator tries to create grants in somebody else's name, with the operator down.
func TestGrantCreator(t *testing.T) {
	cases := map[string]struct {
		as        apiserver.User
		patch     string
		wantError string
	}{
		"named":             {alice, createdBy("alice"), ""},
		"not named":         {alice, "", `set it to your user name, "alice"`},
		"named empty":       {alice, createdBy(""), `set it to your user name, "alice"`},
		"named otherwise":   {alice, createdBy("eve"), `must be your user name, "alice": remove the annotation`},
		"an administrator":  {admin, createdBy("alice"), `must be your user name, "root"`},
		"a ServiceAccount":  {bot, createdBy(bot.Name), ""},
		"the proxy":         {proxy, createdBy(proxy.Name), "may not CREATE access.cardea.dev/accessgrants"},
		"the operator does": {operator, createdBy("alice"), "must be your user name"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			refused(t, create(t.Context(), c.as, apiserver.Object(grant, c.patch)), c.wantError)
		})
	}
}

// TestGrantUpdate tries to change the creator, and that no form of revocation is held up.
func TestGrantUpdate(t *testing.T) {
	cases := map[string]struct {
		as        apiserver.User
		patch     string
		wantError string
	}{
		"renamed":                     {alice, createdBy("eve"), "cannot be changed"},
		"dropped":                     {alice, `{metadata: {annotations: {access.cardea.dev/created-by: null}}}`, "cannot be changed"},
		"all annotations dropped":     {alice, `{metadata: {annotations: null}}`, "cannot be changed"},
		"annotated beside":            {alice, `{metadata: {annotations: {a: b}}}`, ""},
		"revoked":                     {eve, `{spec: {desiredState: Revoked}}`, ""},
		"revoked by replacement":      {eve, `{metadata: {annotations: null}, spec: {desiredState: Revoked}}`, ""},
		"revoked and renamed":         {eve, `{metadata: {annotations: {access.cardea.dev/created-by: eve}}, spec: {desiredState: Revoked}}`, "cannot be changed"},
		"revoked by the proxy":        {proxy, `{spec: {desiredState: Revoked}}`, "may not UPDATE access.cardea.dev/accessgrants"},
		"shortened, creator the same": {alice, `{spec: {duration: 30m}}`, ""},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			o := store(t, alice, apiserver.Object(grant, createdBy("alice")))
			refused(t, patch(t.Context(), c.as, o, c.patch), c.wantError)
		})
	}
}

// TestRevokeByKubectl revokes as the documentation does.
func TestRevokeByKubectl(t *testing.T) {
	o := store(t, alice, apiserver.Object(grant, createdBy("alice")))
	_, err := cluster.Kubectl(eve, "", "patch", "agrant", o.GetName(), "-n", gate, "--type=merge", "-p", `{"spec":{"desiredState":"Revoked"}}`)
	refused(t, err, "")
	_, err = cluster.Kubectl(eve, "", "patch", "agrant", o.GetName(), "-n", gate, "--type=merge", "-p", `{"spec":{"desiredState":"Active"}}`)
	refused(t, err, "a revoked grant stays revoked")
}
