package personas

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

// TestLegalHold tries who may take a hold away, or what carries it.
func TestLegalHold(t *testing.T) {
	if _, err := cluster.Kubectl(apiserver.User{}, "", "apply", "-f", apiserver.Root("config", "admission", "hold.yaml")); err != nil {
		t.Fatal(err)
	}
	const (
		held    = `{"metadata":{"labels":{"access.cardea.dev/legal-hold":"case-17"}}}`
		other   = `{"metadata":{"labels":{"access.cardea.dev/legal-hold":"nothing"}}}`
		release = `{"metadata":{"labels":{"access.cardea.dev/legal-hold":null}}}`
	)
	change := func(persona string, o client.Object, body string, options ...client.PatchOption) error {
		c, err := cluster.As(apiserver.User{Name: "somebody", Groups: []string{persona}})
		if err != nil {
			return err
		}
		copied := o.DeepCopyObject().(client.Object)
		return c.Patch(t.Context(), copied, client.RawPatch(types.MergePatchType, []byte(body)), options...)
	}
	for i, o := range []client.Object{apiserver.Object(apiserver.Session, "metadata: {name: held-session}"), apiserver.Object(apiserver.RecordingStore, "metadata: {name: held-store}")} {
		t.Run(o.GetName(), func(t *testing.T) {
			if err := admin.Create(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if err := change("cardea-admin", o, held); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				enforced(t, func() error { return change("cardea-admin", o, release, client.DryRunAll) })
			}
			for what, body := range map[string]string{"release": release, "relabel": other, "release all": `{"metadata":{"labels":null}}`} {
				if err := change("cardea-admin", o, body); err == nil || !strings.Contains(err.Error(), "legal hold: only who may") {
					t.Errorf("%s by an administrator: %v", what, err)
				}
			}
			if i == 1 {
				if err := change("cardea-admin", o, `{"spec":{"retention":"2h"}}`); err != nil {
					t.Errorf("another change: %v", err)
				}
				c, err := cluster.As(apiserver.User{Name: "somebody", Groups: []string{"cardea-admin"}})
				if err != nil {
					t.Fatal(err)
				}
				if err := c.Delete(t.Context(), o); err == nil || !strings.Contains(err.Error(), "legal hold: only who may") {
					t.Errorf("deleted by an administrator: %v", err)
				}
			}
			if err := change("cardea-custodian", o, release); (err == nil) != (i == 0) {
				t.Errorf("released by a custodian: %v", err)
			}
			if err := admin.Delete(t.Context(), o); err != nil {
				t.Errorf("deleted by who may do anything: %v", err)
			}
		})
	}
}

// enforced waits until a policy is, a moment after it is stored.
func enforced(t *testing.T, try func() error) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 2*time.Minute, true, func(context.Context) (bool, error) { return try() != nil, nil })
	if err != nil {
		t.Fatal(fmt.Errorf("the policy is not enforced: %w", err))
	}
}
