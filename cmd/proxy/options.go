package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/spf13/pflag"
)

// options are the flags.
type options struct {
	manifests string

	namespace     string
	rootNamespace string
	podName       string
	podIP         string
	peers         string
	tlsDir        string
	kubeconfig    string

	address        string
	postgresPort   int
	kubernetesPort int
	sshPort        int
	metricsPort    int
	spool          string
	drain          time.Duration
	verbosity      int
	version        bool
}

func parse(args []string) (*options, error) {
	o := new(options)
	f := pflag.NewFlagSet("cardea-proxy", pflag.ContinueOnError)
	f.SortFlags = false
	f.StringVar(&o.manifests, "manifests", "", "run without a cluster, from the manifests of this `folder`")
	f.StringVar(&o.namespace, "namespace", "", "the gate `namespace`, in a cluster")
	f.StringVar(&o.rootNamespace, "root-namespace", "cardea-system", "the `namespace` whose rules and locks govern every gate")
	f.StringVar(&o.podName, "pod-name", "", "the `name` of this pod")
	f.StringVar(&o.podIP, "pod-ip", "", "the `address` of this pod; that of its first interface without it")
	f.StringVar(&o.peers, "peers", "", "the `name` in DNS of all replicas, a headless Service: a request to cancel finds its session by it")
	f.StringVar(&o.tlsDir, "tls-dir", "/etc/cardea/tls", "the `folder` with tls.crt, tls.key, ca.crt and redact.key, in a cluster")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "the `file` that says how to reach the API server; the pod's ServiceAccount without it")
	f.StringVar(&o.address, "address", "", "the `address` to listen at; 127.0.0.1 with --manifests, every one in a cluster")
	f.IntVar(&o.postgresPort, "postgres-port", 5432, "the `port` for PostgreSQL clients; 0 turns it off")
	f.IntVar(&o.kubernetesPort, "kubernetes-port", 0, "the `port` for Kubernetes clients; 0 turns it off")
	f.IntVar(&o.sshPort, "ssh-port", 0, "the `port` for SSH clients; 0 turns it off")
	f.IntVar(&o.metricsPort, "metrics-port", 8080, "the `port` for /metrics, /healthz and /readyz; 0 turns it off")
	f.StringVar(&o.spool, "spool", "", "the `folder` in which recordings wait for their store (default /var/spool/cardea, or .spool of the manifests)")
	f.DurationVar(&o.drain, "drain", 30*time.Second, "how `long` sessions may go on after SIGTERM")
	f.IntVarP(&o.verbosity, "verbosity", "v", 0, "how `much` is logged: 0 or 1")
	f.BoolVar(&o.version, "version", false, "print the version")
	f.SetOutput(io.Discard)
	f.Usage = func() {
		fmt.Printf("Usage: cardea-proxy --manifests FOLDER | --namespace NAMESPACE [flags]\n\n%s", f.FlagUsages())
	}
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	if o.version {
		return o, nil
	}
	return o, o.complete(f.Args())
}

// complete checks the flags and sets what depends on others.
func (o *options) complete(rest []string) error {
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q; --help lists the flags", rest[0])
	case (o.manifests == "") == (o.namespace == ""):
		return errors.New("exactly one of --manifests and --namespace is needed; --help lists the flags")
	case slices.ContainsFunc([]int{o.postgresPort, o.kubernetesPort, o.sshPort, o.metricsPort}, func(p int) bool { return p < 0 || p > 65535 }):
		return errors.New("a port must be between 0 and 65535")
	case o.manifests != "" && o.peers != "":
		return errors.New("--peers has no meaning with --manifests: there is one replica alone")
	case o.drain < 0:
		return errors.New("--drain must not be negative")
	}
	if o.podName == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("find a name for this proxy: %w; set --pod-name", err)
		}
		o.podName = name
	}
	if o.manifests == "" {
		if o.spool == "" {
			o.spool = "/var/spool/cardea"
		}
		return nil
	}
	if o.address == "" {
		o.address = "127.0.0.1"
	}
	if o.spool == "" {
		o.spool = filepath.Join(o.manifests, ".spool")
	}
	return nil
}

// version is that of the module, or the commit it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && info.Main.Version == "(devel)" {
			return s.Value
		}
	}
	return info.Main.Version
}
