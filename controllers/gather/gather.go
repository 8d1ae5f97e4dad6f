// Package gather reads from the cache what a judgement on a Target or a grant depends on,
// in the form that package policy takes. The operator's conditions and the proxy's
// decisions are computed by the same functions from the same input.
package gather

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// Input returns the policy of a gate namespace without its grants. The objects are shared
// with the cache and must not be modified.
func Input(ctx context.Context, c client.Reader, namespace, root string) (policy.Input, error) {
	in := policy.Input{Namespace: namespace, RootNamespace: root}
	var targets v1alpha1.TargetList
	var stores v1alpha1.RecordingStoreList
	for _, list := range []client.ObjectList{&targets, &stores} {
		if err := c.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			return in, fmt.Errorf("list %T: %w", list, err)
		}
	}
	in.Targets, in.Stores = pointers(targets.Items), pointers(stores.Items)

	namespaces := []string{namespace}
	if root != namespace {
		namespaces = append(namespaces, root)
	}
	for _, ns := range namespaces {
		var masking v1alpha1.MaskingRuleList
		var command v1alpha1.CommandRuleList
		for _, list := range []client.ObjectList{&masking, &command} {
			if err := c.List(ctx, list, client.InNamespace(ns), client.UnsafeDisableDeepCopy); err != nil {
				return in, fmt.Errorf("list %T: %w", list, err)
			}
		}
		in.MaskingRules = append(in.MaskingRules, pointers(masking.Items)...)
		in.CommandRules = append(in.CommandRules, pointers(command.Items)...)
	}
	return in, nil
}

func pointers[T any](items []T) []*T {
	out := make([]*T, len(items))
	for i := range items {
		out[i] = &items[i]
	}
	return out
}
