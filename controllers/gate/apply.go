package gate

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/authority"
	"github.com/cardea-dev/cardea/controllers/desired"
)

const redactKeySize = 32

// applyCertificates keeps the gate's authority in the root namespace, and the proxy's
// serving certificate and the key of its hashes in the gate namespace.
func (r *Reconciler) applyCertificates(ctx context.Context, s *scope) (ctrl.Result, error) {
	keys, err := r.Authorities.Ensure(ctx, desired.CAName(s.namespace), desired.Labels(s.namespace))
	if err != nil {
		return ctrl.Result{}, err
	}
	old := &corev1.Secret{}
	err = r.Live.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: v1alpha1.ProxyTLSName}, old)
	if client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("read the proxy's certificate: %w", err)
	}
	serving, renewed, err := keys.Serve(
		authority.Serving{Cert: old.Data[desired.KeyCert], Key: old.Data[desired.KeyKey]},
		desired.ServingNames(s.gate), r.Clock.Now())
	if err != nil {
		return ctrl.Result{}, err
	}
	recorder, again, err := keys.Recorder(
		authority.Serving{Cert: old.Data[desired.KeyRecorderCert], Key: old.Data[desired.KeyRecorderKey]}, s.namespace, r.Clock.Now())
	if err != nil {
		return ctrl.Result{}, err
	}
	redact := old.Data[desired.KeyRedact]
	if len(redact) != redactKeySize {
		redact, renewed = make([]byte, redactKeySize), true
		if _, err := rand.Read(redact); err != nil {
			return ctrl.Result{}, fmt.Errorf("make redaction key: %w", err)
		}
	}
	host := old.Data[desired.KeySSH]
	if renewed || len(host) == 0 {
		renewed = true
		if host, err = keys.Signer().HostCertificate(serving.Cert); err != nil {
			return ctrl.Result{}, fmt.Errorf("sign the proxy's host key: %w", err)
		}
	}
	if renewed || again || !bytes.Equal(old.Data[desired.KeyCA], keys.Bundle()) || old.Labels[desired.LabelManagedBy] != desired.ManagedBy {
		r.Applier.Forget(s.namespace)
	}
	content := desired.TLS{Cert: serving.Cert, Key: serving.Key, Bundle: keys.Bundle(), Redact: redact, SSH: host,
		RecorderCert: recorder.Cert, RecorderKey: recorder.Key, History: keys.History()}
	return r.apply(ctx, s, desired.TLSSecret(s.gate, content), desired.TLSConfigMap(s.gate, content))
}

func (r *Reconciler) applyRights(ctx context.Context, s *scope) (ctrl.Result, error) {
	if role := desired.ImpersonationRole(s.gate); role == nil {
		// The role goes with its last user.
		if err := r.removeAll(ctx, s.namespace, impersonation(s.namespace)); err != nil {
			return ctrl.Result{}, err
		}
	} else if result, err := r.apply(ctx, s, role, desired.ImpersonationBinding(s.gate)); err != nil {
		return result, err
	}
	return r.apply(ctx, s,
		desired.ServiceAccount(s.gate),
		desired.Role(s.gate), desired.RoleBinding(s.gate),
		desired.RootRole(s.gate), desired.RootRoleBinding(s.gate))
}

func (r *Reconciler) applyNetwork(ctx context.Context, s *scope) (ctrl.Result, error) {
	return r.apply(ctx, s, desired.NetworkPolicy(s.gate), desired.Service(s.gate), desired.PeersService(s.gate), desired.PodDisruptionBudget(s.gate))
}

// applyProxy applies the Deployment. Where that replaces pods, the gate waits for its turn.
func (r *Reconciler) applyProxy(ctx context.Context, s *scope) (ctrl.Result, error) {
	template := desired.Template(s.gate)
	if replaces(s.existing, template, s.gate.Replicas) {
		ok, err := r.rollouts.begin(ctx, r.Client, r.Clock, s.namespace, template)
		if err != nil {
			return ctrl.Result{}, err
		}
		if !ok {
			return ctrl.Result{RequeueAfter: rolloutPause}, nil
		}
	}
	return r.apply(ctx, s, desired.Deployment(s.gate))
}

func (r *Reconciler) apply(ctx context.Context, s *scope, objects ...runtime.ApplyConfiguration) (ctrl.Result, error) {
	for _, obj := range objects {
		if err := r.Applier.Apply(ctx, s.namespace, obj); err != nil {
			return ctrl.Result{}, err
		}
	}
	return ctrl.Result{}, nil
}
