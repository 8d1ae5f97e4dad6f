package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/utils/clock"

	"github.com/cardea-dev/cardea/proxy/approval"
	"github.com/cardea-dev/cardea/proxy/backend"
	"github.com/cardea-dev/cardea/proxy/backend/files"
	"github.com/cardea-dev/cardea/proxy/engine"
	"github.com/cardea-dev/cardea/proxy/engine/kubernetes"
	"github.com/cardea-dev/cardea/proxy/engine/postgres"
	"github.com/cardea-dev/cardea/proxy/engine/ssh"
	"github.com/cardea-dev/cardea/proxy/gate"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
	pgsql "github.com/cardea-dev/cardea/proxy/sql/postgres"
	"github.com/cardea-dev/cardea/proxy/sql/postgres/parser"
)

const (
	// remembered is how many analyses of statements are kept.
	remembered = 4096
	// dialTimeout bounds connecting to a target.
	dialTimeout = 10 * time.Second
)

// source is where the policy comes from, and what goes with it.
type source struct {
	backend.Backend
	namespace string
	redactKey []byte
	store     recording.Store // of every recording: in this version one place serves all RecordingStores
	ended     func(session string) bool
	said      string // for the line that says that the proxy is ready
}

// headroom is how much garbage the collector lets pile up at the least. Without it a proxy
// whose live memory is a few megabytes collects dozens of times a second under load.
const headroom = 32 << 20

// run wires the parts and runs them until ctx ends.
func run(ctx context.Context, o *options) error {
	// Never touched, so that it takes no memory; the collector counts it as live all the same.
	ballast := make([]byte, headroom)
	defer runtime.KeepAlive(&ballast[0])
	log := logger(o)
	ctx = logr.NewContext(ctx, log)
	src, err := open(ctx, o, log)
	if err != nil {
		return err
	}
	parsers := parser.New(parser.Options{})
	defer parsers.Close()
	dialer := (&net.Dialer{Timeout: dialTimeout}).DialContext
	replicas, err := peers(o, src.namespace)
	if err != nil {
		return err
	}
	databases, err := postgres.New(postgres.Config{Directory: gate.Directory{Source: src}, TLS: src.TLS(), Analyzer: pgsql.NewAnalyzer(parsers, remembered),
		Peers: replicas, Upkeep: &postgres.Upkeep{Proxy: o.podName, Targets: func() []policy.Upkeep { return src.Current().Upkeep() }, Ended: src.ended,
			Secrets: src, Dial: dialer, Log: log.WithName("roles")}})
	if err != nil {
		return err
	}
	var g *gate.Gate
	spool, err := recording.NewSpool(recording.Config{Dir: o.spool, Key: src.Recorder,
		StoreFor: func(context.Context, recording.Started) (recording.Store, error) { return src.store, nil },
		Progress: func(session string, s recording.Stored) { g.Progress(session, s) }})
	if err != nil {
		return err
	}
	defer func() { _ = spool.Close() }()
	requests, err := kubernetes.New(kubernetes.Config{Directory: gate.Directory{Source: src}, TLS: src.TLS()})
	if err != nil {
		return err
	}
	hosts, err := ssh.New(ssh.Config{Directory: gate.Directory{Source: src}, Identity: src.SSH})
	if err != nil {
		return err
	}
	listeners, err := listen(ctx, o, databases, requests, hosts)
	if err != nil {
		return err
	}
	clk := clock.RealClock{}
	metrics := gate.NewMetrics(spool.Unshipped)
	metrics.Gauge("left_roles", "Roles of ended sessions that could not be dropped yet.", func() float64 { return float64(databases.LeftRoles()) })
	g, err = gate.New(gate.Config{Backend: src, Listeners: listeners, Spool: spool, Approvals: approval.NewHolder(src, clk),
		Namespace: src.namespace, Proxy: o.podName, RedactKey: src.redactKey, Dial: dialer,
		Clock: clk, Log: log.WithName("gate"), Metrics: metrics})
	if err != nil {
		return err
	}
	recovered, err := spool.Recover(ctx)
	if err != nil {
		log.Error(err, "Some recordings of an earlier process could not be taken over")
	}
	g.Adopt(recovered)
	return serve(ctx, o, src, databases, g, spool)
}

// serve runs the parts until ctx ends or one of them fails, and ends them in their order.
func serve(ctx context.Context, o *options, src *source, engine *postgres.Engine, g *gate.Gate, spool *recording.Spool) error {
	serving, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	// What sessions need goes on until the last one has ended.
	under, stop := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	defer func() { stop(); background.Wait() }()
	keep := func(what string, f func(context.Context) error) {
		background.Go(func() {
			if err := f(under); err != nil {
				failed(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	if err := metrics(ctx, o, g, keep); err != nil {
		return err
	}
	keep("ship recordings", spool.Run)
	keep("watch policy", src.Run)
	select {
	case <-src.Ready():
	case <-serving.Done():
		return cause(ctx, serving)
	}
	keep("tend roles", engine.Tend)
	fmt.Printf("cardea-proxy is ready: %s\n", ready(o, src))
	g.Run(serving, o.drain)
	return cause(ctx, serving)
}

// cause is why serving ended, nil if that was wanted.
func cause(ctx, serving context.Context) error {
	if why := context.Cause(serving); ctx.Err() == nil {
		return why
	}
	return nil
}

func ready(o *options, src *source) string {
	said := src.said
	if o.sshPort != 0 {
		said = "SSH at " + net.JoinHostPort(o.address, strconv.Itoa(o.sshPort)) + ", " + said
	}
	if o.kubernetesPort != 0 {
		said = "Kubernetes at " + net.JoinHostPort(o.address, strconv.Itoa(o.kubernetesPort)) + ", " + said
	}
	if o.postgresPort != 0 {
		said = "PostgreSQL at " + net.JoinHostPort(o.address, strconv.Itoa(o.postgresPort)) + ", " + said
	}
	return said
}

// open opens the backend.
func open(ctx context.Context, o *options, log logr.Logger) (*source, error) {
	if o.manifests == "" {
		return openCluster(o, log)
	}
	folder, err := filepath.Abs(o.manifests)
	if err != nil {
		return nil, err
	}
	b, err := files.New(ctx, files.Config{Dir: folder, Address: o.address, Port: o.postgresPort, KubernetesPort: o.kubernetesPort, SSHPort: o.sshPort, Clock: clock.RealClock{}, Log: log.WithName("files")})
	if err != nil {
		return nil, err
	}
	return &source{Backend: b, namespace: b.Namespace(), redactKey: b.RedactKey(), store: dir.New(b.Recordings()),
		ended: b.Ended, said: "policy from " + folder + ", credentials in " + filepath.Join(folder, ".credentials")}, nil
}

// listen opens the ports of the engines.
func listen(ctx context.Context, o *options, pg *postgres.Engine, kube *kubernetes.Engine, hosts *ssh.Engine) ([]gate.Listener, error) {
	var out []gate.Listener
	for _, e := range []struct {
		name   string
		port   int
		engine engine.Engine
	}{{postgres.Name, o.postgresPort, pg}, {kubernetes.Name, o.kubernetesPort, kube}, {ssh.Name, o.sshPort, hosts}} {
		if e.port == 0 {
			continue
		}
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(o.address, strconv.Itoa(e.port)))
		if err != nil {
			return nil, err
		}
		out = append(out, gate.Listener{Name: e.name, Listener: l, Engine: e.engine})
	}
	return out, nil
}

// metrics serves what watches over the proxy.
func metrics(ctx context.Context, o *options, g *gate.Gate, keep func(string, func(context.Context) error)) error {
	if o.metricsPort == 0 {
		return nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(o.address, strconv.Itoa(o.metricsPort)))
	if err != nil {
		return err
	}
	server := &http.Server{Handler: g.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10}
	keep("serve metrics", func(ctx context.Context) error {
		stop := context.AfterFunc(ctx, func() { _ = server.Close() })
		defer stop()
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	return nil
}

// logger logs to standard error: for people without a cluster, as JSON within one.
func logger(o *options) logr.Logger {
	level := &slog.HandlerOptions{Level: slog.Level(-o.verbosity)}
	if o.manifests == "" {
		return logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, level))
	}
	return logr.FromSlogHandler(slog.NewTextHandler(os.Stderr, level))
}
