// Package api tries the schema of every kind against a real API server: what is accepted,
// what is refused and with which words, what is filled in, and what may change afterwards.
package api

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

var (
	cluster *apiserver.Cluster
	admin   client.Client
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	var err error
	if cluster, err = apiserver.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := cluster.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	if admin, err = cluster.Admin(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := admin.Create(context.Background(), apiserver.Namespace("shop-gate")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// refused fails the test unless err says want; an empty want expects success.
func refused(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		t.Errorf("accepted, want an error that says %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("error %q, want one that says %q", err, want)
	}
}

// store creates o under a name of its own.
func store(t *testing.T, o *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	if o.GetKind() != "AccessProxy" { // there is one
		o.SetGenerateName(o.GetName() + "-")
		o.SetName("")
	}
	if err := admin.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	return o
}

// mergePatch turns YAML into a merge patch.
func mergePatch(t *testing.T, body string) client.Patch {
	t.Helper()
	data, err := yaml.YAMLToJSON([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return client.RawPatch(types.MergePatchType, data)
}

// long is a string of n characters.
func long(n int) string { return strings.Repeat("x", n) }

// list is a YAML flow list of n distinct items, each from format with its index.
func list(n int, format string) string {
	items := make([]string, n)
	for i := range items {
		items[i] = fmt.Sprintf(format, i)
	}
	return "[" + strings.Join(items, ", ") + "]"
}
