package admission

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

// TestRecordingCreate tries to make up recordings, and ConfigMaps that are none.
func TestRecordingCreate(t *testing.T) {
	cases := map[string]struct {
		as        apiserver.User
		manifest  string
		patch     string
		wantError string
	}{
		"the proxy":                      {proxy, recording, "", ""},
		"another proxy":                  {otherProxy, recording, "", denied},
		"the operator":                   {operator, recording, "", "are for recordings"},
		"an administrator":               {admin, recording, "", "are for recordings"},
		"by name alone":                  {admin, configMap, `{metadata: {name: cardea-rec-x}}`, "are for recordings"},
		"by label alone":                 {admin, configMap, `{metadata: {labels: {access.cardea.dev/session: s}}}`, "are for recordings"},
		"mutable":                        {proxy, recording, `{immutable: false}`, "immutable: must be true"},
		"mutability not said":            {proxy, recording, `{immutable: null}`, "immutable: must be true"},
		"no labels":                      {proxy, recording, `{metadata: {labels: null}}`, "carries the labels"},
		"no grant":                       {proxy, recording, `{metadata: {labels: {access.cardea.dev/grant: null}}}`, "carries the labels"},
		"another session's name":         {proxy, recording, `{metadata: {labels: {access.cardea.dev/session: other}}}`, "is named cardea-rec-SESSION-NNNNNN"},
		"no index":                       {proxy, recording, `{metadata: {name: cardea-rec-report-agent-abcde-x}}`, "is named cardea-rec-SESSION-NNNNNN"},
		"owned":                          {proxy, recording, `{metadata: {ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: x, uid: x}]}}`, "no owner"},
		"another ConfigMap by the proxy": {proxy, configMap, "", "creates recordings and no other ConfigMap"},
		"another ConfigMap by anybody":   {eve, configMap, "", ""},
		"a recording elsewhere":          {proxy, recording, `{metadata: {namespace: other-gate}}`, denied},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			refused(t, create(t.Context(), c.as, apiserver.Object(c.manifest, c.patch)), c.wantError)
		})
	}
}

var segments int

// segment is one more recording of the tests' session.
func segment(t *testing.T) *unstructured.Unstructured {
	t.Helper()
	segments++
	return store(t, proxy, apiserver.Object(recording, fmt.Sprintf(`{metadata: {name: cardea-rec-report-agent-abcde-%06d}}`, segments)))
}

// TestRecordingUpdate tries to alter recordings, and to turn something else into one.
func TestRecordingUpdate(t *testing.T) {
	patches := map[string]string{
		"unlabelled":  `{metadata: {labels: null}}`,
		"relabelled":  `{metadata: {labels: {access.cardea.dev/session: other}}}`,
		"annotated":   `{metadata: {annotations: {a: b}}}`,
		"owned":       `{metadata: {ownerReferences: [{apiVersion: v1, kind: ConfigMap, name: x, uid: x}]}}`,
		"held back":   `{metadata: {finalizers: [example.com/keep]}}`,
		"filled anew": `{data: {digest: "11"}}`,
		"thawed":      `{immutable: false}`,
	}
	users := map[string]apiserver.User{"the operator": operator, "an administrator": admin, "the proxy": proxy, "the collector": collector}
	o := segment(t)
	for name, p := range patches {
		for who, u := range users {
			t.Run(name+" by "+who, func(t *testing.T) {
				err := patch(t.Context(), u, o, p)
				if err == nil {
					t.Error("accepted")
				}
			})
		}
	}

	plain := store(t, eve, apiserver.Object(configMap, ""))
	refused(t, patch(t.Context(), eve, plain, `{metadata: {labels: {access.cardea.dev/session: s}}}`), "a recording cannot be changed")
	refused(t, patch(t.Context(), eve, plain, `{data: {ca.crt: other}}`), "")
	refused(t, patch(t.Context(), admin, o, `{}`), "")
}

// TestRecordingDelete tries to make recordings vanish before their time.
func TestRecordingDelete(t *testing.T) {
	remove := func(u apiserver.User) error {
		c, err := cluster.As(u)
		if err != nil {
			return err
		}
		return c.Delete(t.Context(), segment(t))
	}
	admit(t, map[string]want{
		"the operator, by retention": {operator, ""},
		"the end of the namespace":   {nsdeleter, ""},
		"the garbage collector":      {collector, ""},
		"the proxy":                  {proxy, denied},
		"an administrator":           {admin, "a recording ends by retention alone"},
		"another operator":           {apiserver.User{Name: "system:serviceaccount:shop:cardea-operator"}, "ends by retention alone"},
	}, remove)

	segment(t)
	all := func(u apiserver.User) error {
		c, err := cluster.As(u)
		if err != nil {
			return err
		}
		return c.DeleteAllOf(t.Context(), &corev1.ConfigMap{}, client.InNamespace(gate), client.HasLabels{"access.cardea.dev/session"})
	}
	admit(t, map[string]want{"an administrator, all at once": {admin, "ends by retention alone"}}, all)
	admit(t, map[string]want{"the end of the namespace, all at once": {nsdeleter, ""}}, all)
}
