package gate

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/desired"
	"github.com/cardea-dev/cardea/proxy/kubeapi"
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

	var turn time.Time
	s.gate.Users, turn = users(s.grants, s.targets, now)

	after := resync
	for _, at := range []time.Time{next, turn} {
		if !at.IsZero() {
			after = min(after, max(at.Sub(now), time.Second))
		}
	}
	return ctrl.Result{RequeueAfter: after}, nil
}

// reference adds what the proxy needs to reach a Target. A Secret whose owner has not
// consented to that very Target is left out: the proxy has no right to it.
func (r *Reconciler) reference(ctx context.Context, g *desired.Gate, t *v1alpha1.Target) error {
	var secrets []string
	var ca *v1alpha1.KeyReference
	switch pg, k, ssh := t.Spec.Postgres, t.Spec.Kubernetes, t.Spec.SSH; {
	case pg != nil:
		g.TargetPorts = append(g.TargetPorts, pg.Port)
		if name := pg.LoginSecret(); name != "" {
			secrets = append(secrets, name)
		}
		if ref := pg.TLS.ClientCertRef; ref != nil {
			secrets = append(secrets, ref.Name)
		}
		ca = pg.TLS.CARef
	case k != nil:
		g.Kubernetes = true
		if k.Server == nil {
			return nil // by the proxy's own account, at the API server's ports
		}
		g.TargetPorts = append(g.TargetPorts, portOf(k.Server.URL))
		secrets, ca = append(secrets, k.Server.CredentialRef.Name), k.Server.CARef
	case ssh != nil:
		g.SSH = true
		g.TargetPorts = append(g.TargetPorts, ssh.Port)
		secrets = append(secrets, ssh.KeySecret())
	}
	if ref := ca; ref != nil {
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

// portOf returns the port of an address that admission has checked.
func portOf(address string) int32 {
	u, err := url.Parse(address)
	if err != nil {
		return 443
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || port == 0 {
		return 443
	}
	return int32(port) //nolint:gosec // 16 bits
}

// users returns the users that stand for the grants on this cluster's API server which are
// open at a time, and when that changes next; zero for never.
func users(grants []v1alpha1.AccessGrant, targets []v1alpha1.Target, now time.Time) (users []string, next time.Time) {
	own := map[string]bool{}
	for i := range targets {
		own[targets[i].Name] = desired.OwnCluster(&targets[i])
	}
	for i := range grants {
		g := &grants[i]
		if !own[g.Spec.TargetRef.Name] || g.Spec.Kubernetes == nil || g.Spec.DesiredState == v1alpha1.GrantRevoked || !accepted(g) ||
			g.Status.StartsAt == nil || g.Status.ExpiresAt == nil || !now.Before(g.Status.ExpiresAt.Time) {
			continue
		}
		at := g.Status.ExpiresAt.Time
		if start := g.Status.StartsAt.Time; now.Before(start) {
			at = start
		} else {
			users = append(users, kubeapi.User(g.Namespace, g.Name, string(g.UID)))
		}
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	return sorted(users), next
}

func sorted[T int32 | string](in []T) []T {
	slices.Sort(in)
	return slices.Compact(in)
}
