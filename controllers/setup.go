package controllers

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/cardea-dev/cardea/controllers/accessgrant"
	"github.com/cardea-dev/cardea/controllers/accessproxy"
	"github.com/cardea-dev/cardea/controllers/apply"
	"github.com/cardea-dev/cardea/controllers/approvalrequest"
	"github.com/cardea-dev/cardea/controllers/authority"
	"github.com/cardea-dev/cardea/controllers/gate"
	"github.com/cardea-dev/cardea/controllers/recordingstore"
	"github.com/cardea-dev/cardea/controllers/rule"
	"github.com/cardea-dev/cardea/controllers/session"
	"github.com/cardea-dev/cardea/controllers/target"
)

// recorderName is the reporting controller in events.
const recorderName = "cardea-operator"

// Options are what an installation chooses.
type Options struct {
	// RootNamespace is the operator's own.
	RootNamespace string
	// ProxyImage is the image of the proxies, ProxyReplicas how many a busy gate has.
	ProxyImage    string
	ProxyReplicas int32
	// IdleTimeout is how long a gate with nothing to do keeps its proxy.
	IdleTimeout time.Duration
	// Rotation and Overlap are those of credentials.
	Rotation time.Duration
	Overlap  time.Duration
	// Lead is how long before a grant starts its proxy does.
	Lead time.Duration
	// APIServerPorts are the ports that proxies may reach the API server at.
	APIServerPorts []int32
	// Clock tells the time.
	Clock clock.PassiveClock
}

// SetupWithManager adds every reconciler to mgr, whose cache must be made with
// CacheOptions.
func SetupWithManager(ctx context.Context, mgr ctrl.Manager, o Options) error {
	co := consentOptions()
	co.Scheme, co.Mapper, co.HTTPClient = mgr.GetScheme(), mgr.GetRESTMapper(), mgr.GetHTTPClient()
	consent, err := cache.New(mgr.GetConfig(), co)
	if err != nil {
		return fmt.Errorf("make the cache of upstream Secrets: %w", err)
	}
	if err := mgr.Add(consent); err != nil {
		return fmt.Errorf("add the cache of upstream Secrets: %w", err)
	}
	c, live, recorder := mgr.GetClient(), mgr.GetAPIReader(), mgr.GetEventRecorder(recorderName)
	authorities := &authority.Store{Live: live, Client: c, Clock: o.Clock, Namespace: o.RootNamespace}

	for _, err := range []error{
		(&gate.Reconciler{
			Client: c, Live: live, Consent: consent, Clock: o.Clock,
			Authorities: authorities, Applier: &apply.Applier{Client: c, Clock: o.Clock},
			RootNamespace: o.RootNamespace, Image: o.ProxyImage, Replicas: o.ProxyReplicas,
			IdleTimeout: o.IdleTimeout, Lead: o.Lead, APIServerPorts: o.APIServerPorts,
		}).SetupWithManager(mgr, consent),
		(&target.Reconciler{
			Client: c, Live: live, Recorder: recorder, Clock: o.Clock, RootNamespace: o.RootNamespace,
		}).SetupWithManager(mgr, consent),
		(&accessgrant.Reconciler{
			Client: c, Live: live, Recorder: recorder, Clock: o.Clock, Random: rand.Reader,
			Authorities: authorities, RootNamespace: o.RootNamespace,
			Rotation: o.Rotation, Overlap: o.Overlap, Lead: o.Lead,
		}).SetupWithManager(ctx, mgr),
		(&rule.Reconciler{Kind: rule.MaskingRules, Client: c, Recorder: recorder, Clock: o.Clock, RootNamespace: o.RootNamespace}).SetupWithManager(mgr),
		(&rule.Reconciler{Kind: rule.CommandRules, Client: c, Recorder: recorder, Clock: o.Clock, RootNamespace: o.RootNamespace}).SetupWithManager(mgr),
		(&rule.Reconciler{Kind: rule.AccessPolicies, Client: c, Recorder: recorder, Clock: o.Clock, RootNamespace: o.RootNamespace}).SetupWithManager(mgr),
		(&accessproxy.Reconciler{Client: c, Recorder: recorder, Clock: o.Clock, RootNamespace: o.RootNamespace}).SetupWithManager(mgr),
		(&recordingstore.Reconciler{Client: c, Recorder: recorder, Clock: o.Clock}).SetupWithManager(mgr),
		(&recordingstore.Retention{Client: c, Recorder: recorder, Clock: o.Clock}).SetupWithManager(mgr),
		(&session.Reconciler{Client: c, Live: live, Recorder: recorder, Clock: o.Clock}).SetupWithManager(mgr),
		(&approvalrequest.Reconciler{Client: c, Recorder: recorder, Clock: o.Clock}).SetupWithManager(mgr),
	} {
		if err != nil {
			return fmt.Errorf("set up controllers: %w", err)
		}
	}
	return nil
}
