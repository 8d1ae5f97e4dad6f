package webhookcert

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/controllers/authority"
	"github.com/cardea-dev/cardea/controllers/desired"
)

const (
	// interval is how often the Secret is looked at, and so how late a replica learns of a
	// certificate that another one renewed.
	interval = time.Minute
	// attempts bounds how often replicas that start together may get in each other's way.
	attempts = 5

	keyServingCert = "serving.crt"
	keyServingKey  = "serving.key"
)

// ErrNoCertificate is the error of a handshake before there is a certificate.
var ErrNoCertificate = errors.New("there is no serving certificate yet")

// Keeper keeps the certificate. It is safe for concurrent use.
type Keeper struct {
	// Live reads from the API server and not from a cache; Client writes.
	Live   client.Reader
	Client client.Client
	Clock  clock.WithTicker
	// Namespace and Name are those of the Secret; Names are what the certificate is for.
	Namespace string
	Name      string
	Names     []string
	// Mutating and Validating name the webhook configurations that trust the authority.
	Mutating   string
	Validating string

	current atomic.Pointer[tls.Certificate]
}

// GetCertificate returns the certificate to serve with; for tls.Config.
func (k *Keeper) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if c := k.current.Load(); c != nil {
		return c, nil
	}
	return nil, ErrNoCertificate
}

// Ready fails until there is a certificate; for the readiness probe.
func (k *Keeper) Ready() error {
	if k.current.Load() == nil {
		return ErrNoCertificate
	}
	return nil
}

// NeedLeaderElection makes the manager run the Keeper on every replica.
func (k *Keeper) NeedLeaderElection() bool { return false }

// Start keeps certificate and configurations current until ctx ends.
func (k *Keeper) Start(ctx context.Context) error {
	ticker := k.Clock.NewTicker(interval)
	defer ticker.Stop()
	for {
		if err := k.Ensure(ctx); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Failed to keep the serving certificate")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

// Ensure makes or renews what is due, loads it, and puts the authority into the webhook
// configurations.
func (k *Keeper) Ensure(ctx context.Context) error {
	var bundle []byte
	var err error
	for range attempts {
		if bundle, err = k.ensureSecret(ctx); !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
			break
		}
	}
	if err != nil {
		return err
	}
	return k.inject(ctx, bundle)
}

func (k *Keeper) ensureSecret(ctx context.Context) ([]byte, error) {
	now := k.Clock.Now()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: k.Namespace, Name: k.Name, Labels: map[string]string{
		desired.LabelPartOf: desired.PartOf, desired.LabelManagedBy: desired.ManagedBy,
	}}}
	err := k.Live.Get(ctx, client.ObjectKeyFromObject(secret), secret)
	if client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("read Secret %s: %w", k.Name, err)
	}
	missing := err != nil

	keys, changed, err := k.keys(secret, now)
	if err != nil {
		return nil, err
	}
	serving, renewed, err := keys.Serve(
		authority.Serving{Cert: secret.Data[keyServingCert], Key: secret.Data[keyServingKey]}, k.Names, now)
	if err != nil {
		return nil, err
	}
	if changed || renewed {
		secret.Data = keys.Data()
		secret.Data[keyServingCert], secret.Data[keyServingKey] = serving.Cert, serving.Key
		if err := k.write(ctx, secret, missing); err != nil {
			return nil, err
		}
	}
	pair, err := tls.X509KeyPair(serving.Cert, serving.Key)
	if err != nil {
		return nil, fmt.Errorf("load the serving certificate: %w", err)
	}
	k.current.Store(&pair)
	return keys.Bundle(), nil
}

// keys returns the authority in the Secret as it should be now. One that cannot be read is
// replaced: nothing but these servers' certificates depends on it.
func (k *Keeper) keys(secret *corev1.Secret, now time.Time) (*authority.Keys, bool, error) {
	keys, err := authority.Parse(secret.Data)
	if err != nil {
		keys, err = authority.New(k.Name, now)
		return keys, true, err
	}
	return keys.Rotated(k.Name, now)
}

func (k *Keeper) write(ctx context.Context, secret *corev1.Secret, missing bool) error {
	var err error
	if missing {
		err = k.Client.Create(ctx, secret)
	} else {
		err = k.Client.Update(ctx, secret)
	}
	if err != nil {
		return fmt.Errorf("write Secret %s: %w", k.Name, err)
	}
	return nil
}

func same(webhooks [][]byte, bundle []byte) bool {
	for _, b := range webhooks {
		if !bytes.Equal(b, bundle) {
			return false
		}
	}
	return true
}
