package backend

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

func revoke(ctx context.Context, o client.Object) error {
	return admin.Patch(ctx, o, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"desiredState":"Revoked"}}`)))
}

// G2: from the write of a revocation to a snapshot without the grant.
func TestG2RevocationIsQuick(t *testing.T) {
	b, _ := start(t)
	makeTarget(t)
	var took []time.Duration
	for i := range 40 {
		g := openGrant(t, fmt.Sprintf("quick-%d", i))
		eventually(t, "the grant opens", func() error { return admitted(b, g) })
		began := time.Now()
		if err := revoke(t.Context(), g); err != nil {
			t.Fatal(err)
		}
		for {
			changed := b.Changed()
			if refusedWith(b, g, policy.CodeGrantRevoked, "revoked") == nil {
				break
			}
			select {
			case <-changed:
			case <-time.After(patience):
				t.Fatal("the revocation does not arrive")
			}
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	t.Logf("write and revocation: median %s, slowest %s", took[len(took)/2], took[len(took)-1])
	// One of them may have waited for a machine that does something else.
	if usual := took[len(took)/2]; usual > 20*time.Second {
		t.Errorf("a revocation takes %s", usual)
	}
}

// G10: without the API server the last policy stays and is known to age; with it back,
// what happened meanwhile takes effect.
func TestG10Outage(t *testing.T) {
	b, network := start(t)
	makeTarget(t)
	g := openGrant(t, "outage")
	eventually(t, "the grant opens", func() error { return admitted(b, g) })
	network.cut(true)
	cutAt := time.Now()
	if err := revoke(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	// Longer than the time between two proofs.
	<-time.After(12 * time.Second)
	if err := admitted(b, g); err != nil {
		t.Errorf("the last policy is gone: %v", err)
	}
	if proven := b.ProvenAt(); proven.After(cutAt) {
		t.Errorf("the policy counts as proven at %s, and the network was cut at %s", proven, cutAt)
	}
	network.cut(false)
	deadline := time.Now().Add(patience)
	for refusedWith(b, g, policy.CodeGrantRevoked, "revoked") != nil || !b.ProvenAt().After(cutAt) {
		if time.Now().After(deadline) {
			t.Fatal("the backend does not recover")
		}
		<-time.After(10 * time.Millisecond)
	}
}

// An object with a field that this version does not know shuts what it governs.
func TestUnknownFieldShuts(t *testing.T) {
	b, _ := start(t)
	makeTarget(t)
	g := openGrant(t, "unknown-field")
	eventually(t, "the grant opens", func() error { return admitted(b, g) })

	// A newer version of the product has installed its definitions.
	const crd = "maskingrules.access.cardea.dev"
	field := "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/fromTheFuture"
	if _, err := cluster.Kubectl(apiserver.User{}, "", "patch", "crd", crd, "--type=json", "-p", `[{"op":"add","path":"`+field+`","value":{"type":"string"}}]`); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := cluster.Kubectl(apiserver.User{}, "", "patch", "crd", crd, "--type=json", "-p", `[{"op":"remove","path":"`+field+`"}]`); err != nil {
			t.Error(err)
		}
	})
	for _, namespace := range []string{gate, apiserver.OperatorNamespace} {
		t.Run(namespace, func(t *testing.T) {
			rule := &unstructured.Unstructured{}
			eventually(t, "the new field is stored", func() error {
				rule = apiserver.Object(apiserver.MaskingRule, `{spec: {fromTheFuture: x}}`)
				rule.SetNamespace(namespace)
				if err := admin.Create(t.Context(), rule); err != nil {
					return err
				}
				if _, found, _ := unstructured.NestedString(rule.Object, "spec", "fromTheFuture"); !found {
					return fmt.Errorf("it was pruned: %w", admin.Delete(t.Context(), rule))
				}
				return nil
			})
			eventually(t, "the Target shuts", func() error { return refusedWith(b, g, policy.CodeTargetShut, "does not know") })
			if err := admin.Delete(t.Context(), rule); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the Target opens again", func() error { return admitted(b, g) })
		})
	}
}

// A lock in the root namespace shuts every gate.
func TestRootLock(t *testing.T) {
	b, _ := start(t)
	makeTarget(t)
	g := openGrant(t, "locked")
	eventually(t, "the grant opens", func() error { return admitted(b, g) })
	lock := apiserver.Object("apiVersion: access.cardea.dev/v1alpha1\nkind: AccessLock\nmetadata: {name: incident, namespace: cardea-system}\nspec: {targetSelector: {}}", "")
	create(t, lock)
	eventually(t, "the lock shuts", func() error { return refusedWith(b, g, policy.CodeLocked, "") })
}
