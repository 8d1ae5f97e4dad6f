package webhookcert

import (
	"context"
	"fmt"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	admissionv1ac "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fieldOwner holds nothing but caBundle, so that applying the configurations anew leaves
// it alone.
const fieldOwner = client.FieldOwner("cardea-operator-certificates")

// inject puts the bundle into every webhook of both configurations. A configuration that
// is not there is left out: the operator works without webhooks.
func (k *Keeper) inject(ctx context.Context, bundle []byte) error {
	if err := k.injectMutating(ctx, bundle); err != nil {
		return fmt.Errorf("put the authority into %s: %w", k.Mutating, err)
	}
	if err := k.injectValidating(ctx, bundle); err != nil {
		return fmt.Errorf("put the authority into %s: %w", k.Validating, err)
	}
	return nil
}

func (k *Keeper) injectMutating(ctx context.Context, bundle []byte) error {
	stored := &admissionv1.MutatingWebhookConfiguration{}
	if err := k.Live.Get(ctx, client.ObjectKey{Name: k.Mutating}, stored); err != nil {
		return client.IgnoreNotFound(err)
	}
	config := admissionv1ac.MutatingWebhookConfiguration(k.Mutating).WithUID(stored.UID)
	var found [][]byte
	for i := range stored.Webhooks {
		w := &stored.Webhooks[i]
		found = append(found, w.ClientConfig.CABundle)
		config.WithWebhooks(admissionv1ac.MutatingWebhook().WithName(w.Name).
			WithClientConfig(admissionv1ac.WebhookClientConfig().WithCABundle(bundle...)))
	}
	return k.apply(ctx, found, bundle, config)
}

func (k *Keeper) injectValidating(ctx context.Context, bundle []byte) error {
	stored := &admissionv1.ValidatingWebhookConfiguration{}
	if err := k.Live.Get(ctx, client.ObjectKey{Name: k.Validating}, stored); err != nil {
		return client.IgnoreNotFound(err)
	}
	config := admissionv1ac.ValidatingWebhookConfiguration(k.Validating).WithUID(stored.UID)
	var found [][]byte
	for i := range stored.Webhooks {
		w := &stored.Webhooks[i]
		found = append(found, w.ClientConfig.CABundle)
		config.WithWebhooks(admissionv1ac.ValidatingWebhook().WithName(w.Name).
			WithClientConfig(admissionv1ac.WebhookClientConfig().WithCABundle(bundle...)))
	}
	return k.apply(ctx, found, bundle, config)
}

func (k *Keeper) apply(ctx context.Context, found [][]byte, bundle []byte, config runtime.ApplyConfiguration) error {
	if same(found, bundle) {
		return nil
	}
	return k.Client.Apply(ctx, config, fieldOwner, client.ForceOwnership)
}
