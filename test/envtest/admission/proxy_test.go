package admission

import (
	"testing"

	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

// TestProxyConfined tries what a proxy's account could do with rights that it should not
// have: every account here may do everything as far as RBAC is concerned.
func TestProxyConfined(t *testing.T) {
	manifests := map[string]struct{ manifest, wantError string }{
		"a Secret":           {secret, "may not CREATE /secrets"},
		"a Target":           {target, "may not CREATE access.cardea.dev/targets"},
		"a MaskingRule":      {maskingRule, "may not CREATE access.cardea.dev/maskingrules"},
		"a CommandRule":      {commandRule, "may not CREATE access.cardea.dev/commandrules"},
		"a store":            {recordingStore, "may not CREATE access.cardea.dev/recordingstores"},
		"a Namespace":        {`{apiVersion: v1, kind: Namespace, metadata: {name: proxy-made}}`, "may not CREATE /namespaces"},
		"a RoleBinding":      {`{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: x}, roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}}`, "may not CREATE rbac.authorization.k8s.io/clusterrolebindings"},
		"a Session":          {session, ""},
		"a request":          {request, ""},
		"a token for itself": {`{apiVersion: v1, kind: ServiceAccount, metadata: {name: x, namespace: shop-gate}}`, "may not CREATE /serviceaccounts"},
	}
	for name, c := range manifests {
		t.Run("creates "+name, func(t *testing.T) {
			refused(t, create(t.Context(), proxy, apiserver.Object(c.manifest, "")), c.wantError)
		})
	}

	lookalike := apiserver.User{Name: "system:serviceaccount:shop:my-cardea-proxy"}
	refused(t, create(t.Context(), lookalike, apiserver.Object(secret, "")), "")

	o := store(t, alice, apiserver.Object(target, ""))
	refused(t, patch(t.Context(), proxy, o, `{spec: {requires: []}}`), "may not UPDATE access.cardea.dev/targets")
	g := store(t, alice, apiserver.Object(grant, createdBy("alice")))
	refused(t, patch(t.Context(), proxy, g, `{spec: {duration: 1m}}`), "may not UPDATE access.cardea.dev/accessgrants")
	c, err := cluster.As(proxy)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, c.Delete(t.Context(), g), "may not DELETE access.cardea.dev/accessgrants")
	s := store(t, proxy, apiserver.Object(session, ""))
	refused(t, c.Delete(t.Context(), s), "may not DELETE access.cardea.dev/sessions")
}
