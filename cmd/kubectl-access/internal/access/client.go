package access

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// cluster is a connection to an API server and the namespace that the flags choose.
type cluster struct {
	client.WithWatch
	core      kubernetes.Interface
	namespace string
}

func (p *plugin) connect() (*cluster, error) {
	config, err := p.flags.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("read the kubeconfig: %w; --kubeconfig and --context choose another", err)
	}
	namespace, _, err := p.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("read the namespace from the kubeconfig: %w; -n chooses one", err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	// The kinds are known: asking the server for its own would cost round trips.
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{v1alpha1.GroupVersion})
	for _, kind := range []string{"AccessGrant", "AccessLock", "AccessPolicy", "ApprovalRequest", "CommandRule", "MaskingRule", "RecordingStore", "Session", "Target"} {
		mapper.Add(v1alpha1.GroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	c, err := client.NewWithWatch(config, client.Options{Scheme: scheme, Mapper: mapper})
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	core, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return &cluster{WithWatch: c, core: core, namespace: namespace}, nil
}

// explain says what to do about an error of the API server. what is the kind of the object,
// list the command that lists such objects and role the ClusterRole that lets one do this.
func (c *cluster) explain(err error, what, name, list, role string) error {
	switch {
	case err == nil:
		return nil
	case notInstalled(err):
		return fmt.Errorf("this cluster does not know %s/%s: Cardea is not installed in it, or --context names another cluster", v1alpha1.GroupVersion.Group, v1alpha1.GroupVersion.Version)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("there is no %s %q in namespace %q: `kubectl access %s -n %s` lists them, and -n chooses another namespace", what, name, c.namespace, list, c.namespace)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the cluster does not accept your credentials: sign in again (%w)", err)
	case apierrors.IsForbidden(err) && !isAdmission(err):
		return fmt.Errorf("%w; ask an administrator to bind the ClusterRole %s to you in namespace %q", err, role, c.namespace)
	}
	return err
}

// notInstalled reports whether the server does not know the kind, as opposed to the object.
func notInstalled(err error) bool {
	return apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// isAdmission reports whether an admission policy refused and not RBAC: its message already
// says what to do.
func isAdmission(err error) bool {
	status := apierrors.APIStatus(nil)
	return errors.As(err, &status) && status.Status().Details != nil && len(status.Status().Details.Causes) > 0
}

// pageSize bounds what is asked for at a time.
const pageSize = 500

// each lists every object, page by page. all includes every namespace.
func (c *cluster) each(ctx context.Context, list client.ObjectList, all bool, page func() error) error {
	options := []client.ListOption{client.Limit(pageSize)}
	if !all {
		options = append(options, client.InNamespace(c.namespace))
	}
	next := ""
	for {
		if err := c.List(ctx, list, append(options, client.Continue(next))...); err != nil {
			return err
		}
		if err := page(); err != nil {
			return err
		}
		if next = list.GetContinue(); next == "" {
			return nil
		}
	}
}

// printObject prints o as JSON or YAML with nothing in it that a terminal acts upon.
func (p *plugin) printObject(o any, format string) error {
	text, err := json.MarshalIndent(o, "", "    ")
	if err != nil {
		return err
	}
	safe := safeJSON(text)
	if format == "yaml" && string(safe) == string(text) {
		// JSON is YAML: what had to be escaped stays as it is, since YAML would not escape it.
		if safe, err = yaml.JSONToYAML(text); err != nil {
			return err
		}
	} else {
		safe = append(safe, '\n')
	}
	_, err = p.Out.Write(safe)
	return err
}

// checkFormat refuses an unknown output format.
func checkFormat(format string) error {
	switch format {
	case "", "wide", "json", "yaml":
		return nil
	}
	return fmt.Errorf("-o %s is unknown: choose json, yaml or wide", format)
}

// age is a time as kubectl shows it: how long ago.
func (p *plugin) age(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return duration.HumanDuration(p.clock.Since(t))
}
