package gate

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/desired"
)

var (
	namespaceKind = corev1.SchemeGroupVersion.WithKind("Namespace")
	secretKind    = corev1.SchemeGroupVersion.WithKind("Secret")
)

// describe says what the gate consists of now.
func (r *Reconciler) describe(ctx context.Context, s *scope) (ctrl.Result, error) {
	s.gate = desired.Gate{
		Namespace: s.namespace, RootNamespace: r.RootNamespace, Image: r.Image,
		APIServerPorts: r.APIServerPorts,
	}
	for i := range s.targets {
		if err := r.reference(ctx, &s.gate, &s.targets[i]); err != nil {
			return ctrl.Result{}, err
		}
	}
	s.gate.Secrets = sorted(s.gate.Secrets)
	s.gate.ConfigMaps = sorted(s.gate.ConfigMaps)
	s.gate.TargetPorts = sorted(s.gate.TargetPorts)

	wanted := r.Replicas
	if s.proxy != nil {
		s.gate.Proxy, s.gate.ProxyGeneration = s.proxy.Spec, s.proxy.Generation
		if n := s.proxy.Spec.Replicas; n != nil {
			wanted = *n
		}
	}
	var current int32
	var idleSince, next time.Time
	if s.existing != nil {
		if n := s.existing.Spec.Replicas; n != nil {
			current = *n
		}
		// An unreadable time is no time: the gate is idle from now on.
		idleSince, _ = time.Parse(time.RFC3339, s.existing.Annotations[desired.AnnotationIdleSince])
	}
	now := r.Clock.Now()
	d := assess(s.grants, s.sessions, now, r.Lead)
	s.gate.Replicas, s.gate.IdleSince, next = scale(d, current, wanted, idleSince, now, r.IdleTimeout)

	after := resync
	if !next.IsZero() {
		after = min(after, max(next.Sub(now), time.Second))
	}
	return ctrl.Result{RequeueAfter: after}, nil
}

// reference adds what the proxy needs to reach a Target. A Secret whose owner has not
// consented to that very Target is left out: the proxy has no right to it.
func (r *Reconciler) reference(ctx context.Context, g *desired.Gate, t *v1alpha1.Target) error {
	pg := t.Spec.Postgres
	if pg == nil {
		return nil
	}
	g.TargetPorts = append(g.TargetPorts, pg.Port)
	var secrets []string
	if name := pg.LoginSecret(); name != "" {
		secrets = append(secrets, name)
	}
	if ref := pg.TLS.ClientCertRef; ref != nil {
		secrets = append(secrets, ref.Name)
	}
	if ref := pg.TLS.CARef; ref != nil {
		switch ref.Kind {
		case "Secret":
			secrets = append(secrets, ref.Name)
		case "ConfigMap":
			g.ConfigMaps = append(g.ConfigMaps, ref.Name)
		}
	}
	for _, name := range secrets {
		secret := &metav1.PartialObjectMetadata{}
		secret.SetGroupVersionKind(secretKind)
		err := r.Consent.Get(ctx, client.ObjectKey{Namespace: t.Namespace, Name: name}, secret)
		if client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("read Secret %s: %w", name, err)
		}
		if err == nil && secret.Labels[v1alpha1.LabelTarget] == t.Name {
			g.Secrets = append(g.Secrets, name)
		}
	}
	return nil
}

func sorted[T int32 | string](in []T) []T {
	slices.Sort(in)
	return slices.Compact(in)
}
