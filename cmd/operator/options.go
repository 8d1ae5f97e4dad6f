package main

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/controllers"
)

// defaultLead is enough for a proxy's image to be pulled and its pod to be ready.
const defaultLead = 2 * time.Minute

// options are what the command line and the environment choose. A flag wins over its
// variable.
type options struct {
	namespace      string
	metricsAddress string
	healthAddress  string
	webhookPort    int
	leaderElect    bool
	level          slog.Level
	controllers    controllers.Options
}

type environment func(string) string

func parse(args []string, env environment) (options, error) {
	var o options
	var level string
	var ports []string
	var bad error
	f := pflag.NewFlagSet("cardea-operator", pflag.ContinueOnError)
	f.StringVar(&o.namespace, "namespace", env("POD_NAMESPACE"), "the operator's own namespace, which is the root namespace; from POD_NAMESPACE")
	f.StringVar(&o.metricsAddress, "metrics-bind-address", env.text("CARDEA_METRICS_BIND_ADDRESS", ":8443"), "where metrics are served over TLS, to those who may read them; 0 turns them off")
	f.StringVar(&o.healthAddress, "health-probe-bind-address", env.text("CARDEA_HEALTH_PROBE_BIND_ADDRESS", ":8081"), "where /healthz and /readyz are served")
	f.IntVar(&o.webhookPort, "webhook-port", env.number("CARDEA_WEBHOOK_PORT", 9443, &bad), "the port of the webhooks")
	f.BoolVar(&o.leaderElect, "leader-elect", env.text("CARDEA_LEADER_ELECT", "true") == "true", "let one of several replicas reconcile; all serve webhooks")
	f.StringVar(&level, "log-level", env.text("CARDEA_LOG_LEVEL", "info"), "debug, info, warn or error")
	c := &o.controllers
	f.StringVar(&c.ProxyImage, "proxy-image", env("CARDEA_PROXY_IMAGE"), "the image of the proxies; from CARDEA_PROXY_IMAGE")
	replicas := f.Int("proxy-replicas", env.number("CARDEA_PROXY_REPLICAS", 1, &bad), "replicas of the proxy in a gate namespace that has something to do")
	f.DurationVar(&c.IdleTimeout, "proxy-idle-timeout", env.duration("CARDEA_PROXY_IDLE_TIMEOUT", 5*time.Minute, &bad), "how long a gate with nothing to do keeps its proxy")
	f.DurationVar(&c.Lead, "proxy-lead", env.duration("CARDEA_PROXY_LEAD", defaultLead, &bad), "how long before a scheduled grant its credential and its proxy are there")
	f.DurationVar(&c.Rotation, "credential-rotation", env.duration("CARDEA_CREDENTIAL_ROTATION", 24*time.Hour, &bad), "after how long a delivered credential is replaced")
	f.DurationVar(&c.Overlap, "credential-overlap", env.duration("CARDEA_CREDENTIAL_OVERLAP", time.Hour, &bad), "how long a replaced credential stays good")
	f.StringSliceVar(&ports, "api-server-ports", strings.Split(env.text("CARDEA_API_SERVER_PORTS", "443,6443"), ","), "the ports at which proxies may reach the API server")
	if err := f.Parse(args); err != nil {
		return o, fmt.Errorf("read flags: %w", err)
	}
	if bad != nil {
		return o, bad
	}
	if err := o.level.UnmarshalText([]byte(level)); err != nil {
		return o, fmt.Errorf("--log-level: %w", err)
	}
	for _, p := range ports {
		n, err := strconv.ParseUint(strings.TrimSpace(p), 10, 16)
		if err != nil || n == 0 {
			return o, fmt.Errorf("--api-server-ports: %q is no port", p)
		}
		c.APIServerPorts = append(c.APIServerPorts, int32(n)) //nolint:gosec // 16 bits
	}
	if *replicas < 1 || *replicas > math.MaxInt16 {
		return o, fmt.Errorf("--proxy-replicas: %d is not a number of replicas", *replicas)
	}
	c.ProxyReplicas = int32(*replicas) //nolint:gosec // bounded above
	c.RootNamespace, c.Clock = o.namespace, clock.RealClock{}
	return o, o.check()
}

func (o *options) check() error {
	c := &o.controllers
	switch {
	case o.namespace == "":
		return errors.New("--namespace or POD_NAMESPACE must name the operator's namespace")
	case c.ProxyImage == "":
		return errors.New("--proxy-image or CARDEA_PROXY_IMAGE must name the image of the proxies")
	case c.Rotation < time.Minute:
		return errors.New("--credential-rotation must be at least 1m")
	case c.Overlap <= 0 || c.Overlap > c.Rotation:
		return errors.New("--credential-overlap must be more than 0 and at most --credential-rotation")
	case c.IdleTimeout < 0 || c.Lead < 0:
		return errors.New("--proxy-idle-timeout and --proxy-lead must not be negative")
	}
	return nil
}

func (e environment) text(name, fallback string) string {
	if v := e(name); v != "" {
		return v
	}
	return fallback
}

func (e environment) number(name string, fallback int, bad *error) int {
	v := e(name)
	if v == "" {
		return fallback
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		*bad = fmt.Errorf("%s: %q is no number", name, v)
	}
	return n
}

func (e environment) duration(name string, fallback time.Duration, bad *error) time.Duration {
	v := e(name)
	if v == "" {
		return fallback
	}
	d, err := time.ParseDuration(v)
	if err != nil {
		*bad = fmt.Errorf("%s: %q is no duration such as 5m", name, v)
	}
	return d
}
