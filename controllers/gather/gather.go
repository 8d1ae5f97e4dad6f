// Package gather reads from the cache what a judgement on a Target or a grant depends on,
// in the form that package policy takes. The operator's conditions and the proxy's
// decisions are computed by the same functions from the same input.
package gather

import (
	"context"
	"fmt"
	"math"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

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
		var access v1alpha1.AccessPolicyList
		for _, list := range []client.ObjectList{&masking, &command, &access} {
			if err := c.List(ctx, list, client.InNamespace(ns), client.UnsafeDisableDeepCopy); err != nil {
				return in, fmt.Errorf("list %T: %w", list, err)
			}
		}
		in.MaskingRules = append(in.MaskingRules, pointers(masking.Items)...)
		in.CommandRules = append(in.CommandRules, pointers(command.Items)...)
		in.AccessPolicies = append(in.AccessPolicies, pointers(access.Items)...)
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

// Selected returns how many Targets a rule of the given namespace selects: those of its
// own, or of every gate for a rule in the root namespace.
func Selected(ctx context.Context, c client.Reader, namespace, root string, selector *metav1.LabelSelector) (int32, error) {
	s, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		// The rule's own assessment says so; what is no selector selects nothing.
		s = labels.Nothing()
	}
	opts := []client.ListOption{client.MatchingLabelsSelector{Selector: s}, client.UnsafeDisableDeepCopy}
	if namespace != root {
		opts = append(opts, client.InNamespace(namespace))
	}
	var targets v1alpha1.TargetList
	if err := c.List(ctx, &targets, opts...); err != nil {
		return 0, fmt.Errorf("list Targets: %w", err)
	}
	n := 0
	for i := range targets.Items {
		if targets.Items[i].Namespace != root {
			n++
		}
	}
	return int32(min(n, math.MaxInt32)), nil //nolint:gosec // bounded above
}

// RulesFor returns the rules, given as a list, that a Target may be selected by: those of
// its namespace and of the root namespace.
func RulesFor(ctx context.Context, c client.Reader, list client.ObjectList, target client.Object, root string) []reconcile.Request {
	var out []reconcile.Request
	for _, ns := range []string{target.GetNamespace(), root} {
		if err := c.List(ctx, list, client.InNamespace(ns), client.UnsafeDisableDeepCopy); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Failed to list rules")
			return out
		}
		// The function never fails: what it is given are objects.
		_ = meta.EachListItem(list, func(o runtime.Object) error {
			if obj, ok := o.(client.Object); ok {
				out = append(out, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(obj)})
			}
			return nil
		})
	}
	return out
}
