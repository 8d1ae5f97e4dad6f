// Command cardea-operator turns declared grants into proxies, credentials and conditions.
// It holds no traffic: proxies keep enforcing while it is down.
package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers"
	"github.com/cardea-dev/cardea/controllers/webhookcert"
	"github.com/cardea-dev/cardea/webhooks"
)

// The names of what config/ installs around the operator.
const (
	operatorName      = "cardea-operator"
	certificateSecret = "cardea-operator-tls"
	mutatingWebhooks  = "cardea-mutating"
	validatingWebhook = "cardea-validating"
)

func main() {
	o, err := parse(os.Args[1:], os.Getenv)
	if err != nil {
		fmt.Fprintf(os.Stderr, "cardea-operator: %v\n", err)
		os.Exit(2)
	}
	logger := logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: o.level}))
	ctrl.SetLogger(logger)
	klog.SetLogger(logger)
	if err := run(ctrl.SetupSignalHandler(), o); err != nil {
		logger.Error(err, "Failed")
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("make the scheme: %w", err)
		}
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	direct, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("make a client: %w", err)
	}
	keeper := &webhookcert.Keeper{
		Live: direct, Client: direct, Clock: clock.RealClock{},
		Namespace: o.namespace, Name: certificateSecret,
		Names:    []string{operatorName + "." + o.namespace + ".svc", operatorName + "." + o.namespace + ".svc.cluster.local"},
		Mutating: mutatingWebhooks, Validating: validatingWebhook,
	}
	// Before anything serves: a handshake without a certificate would only fail.
	if err := keeper.Ensure(ctx); err != nil {
		return fmt.Errorf("make the serving certificate: %w", err)
	}
	serving := []func(*tls.Config){func(c *tls.Config) {
		c.MinVersion = tls.VersionTLS12
		c.GetCertificate = keeper.GetCertificate
	}}
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:        scheme,
		Cache:         controllers.CacheOptions(),
		WebhookServer: webhook.NewServer(webhook.Options{Port: o.webhookPort, TLSOpts: serving}),
		Metrics: metricsserver.Options{
			BindAddress: o.metricsAddress, SecureServing: true, TLSOpts: serving,
			FilterProvider: filters.WithAuthenticationAndAuthorization,
		},
		HealthProbeBindAddress:        o.healthAddress,
		LeaderElection:                o.leaderElect,
		LeaderElectionID:              operatorName,
		LeaderElectionNamespace:       o.namespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return fmt.Errorf("make the manager: %w", err)
	}
	if err := wire(ctx, mgr, keeper, o); err != nil {
		return err
	}
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("run: %w", err)
	}
	return nil
}

func wire(ctx context.Context, mgr ctrl.Manager, keeper *webhookcert.Keeper, o options) error {
	if err := mgr.Add(keeper); err != nil {
		return fmt.Errorf("add the keeper of certificates: %w", err)
	}
	if err := controllers.SetupWithManager(ctx, mgr, o.controllers); err != nil {
		return err
	}
	if err := webhooks.SetupWithManager(mgr, o.namespace); err != nil {
		return fmt.Errorf("set up webhooks: %w", err)
	}
	checks := map[string]healthz.Checker{
		"certificate": func(*http.Request) error { return keeper.Ready() },
		"webhooks":    mgr.GetWebhookServer().StartedChecker(),
	}
	for name, check := range checks {
		if err := mgr.AddReadyzCheck(name, check); err != nil {
			return fmt.Errorf("add readiness check: %w", err)
		}
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("add health check: %w", err)
	}
	return nil
}
