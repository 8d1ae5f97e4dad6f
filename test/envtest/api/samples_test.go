package api

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
)

// TestSamples applies the samples in one go, twice, and finds that they are what they say.
func TestSamples(t *testing.T) {
	dir := apiserver.Root("config", "samples", "postgres") + string(filepath.Separator)
	kubectl(t, "", "apply", "-f", dir)
	versions := func() string {
		return kubectl(t, "", "get", "-f", dir, "-o", `jsonpath={range .items[*]}{.kind} {.metadata.resourceVersion}{"\n"}{end}`)
	}
	before := versions()
	kubectl(t, "", "apply", "-f", dir)
	if diff := cmp.Diff(before, versions()); diff != "" {
		t.Errorf("applying the samples again changed something (-before +after):\n%s", diff)
	}
}

// TestSamplesDecode decodes every sample strictly, and compiles the rules.
func TestSamplesDecode(t *testing.T) {
	files, err := filepath.Glob(apiserver.Root("config", "samples", "*", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no samples: %v", err)
	}
	decoder := serializer.NewCodecFactory(cluster.Scheme, serializer.EnableStrict).UniversalDeserializer()
	seen := map[string]int{}
	for _, file := range files {
		for _, document := range documents(t, file) {
			o, kind, err := decoder.Decode(document, nil, nil)
			if err != nil {
				t.Errorf("%s: %v", filepath.Base(file), err)
				continue
			}
			seen[kind.Kind]++
			compiles(t, o)
		}
	}
	for _, kind := range []string{"Namespace", "ServiceAccount", "Secret", "Target", "MaskingRule", "CommandRule", "AccessPolicy", "RecordingStore", "AccessGrant", "AccessProxy", "RoleBinding"} {
		if seen[kind] == 0 {
			t.Errorf("the samples have no %s", kind)
		}
	}
}

// compiles fails the test for a rule that would shut its Targets.
func compiles(t *testing.T, o runtime.Object) {
	t.Helper()
	var a policy.Assessment
	switch o := o.(type) {
	case *v1alpha1.MaskingRule:
		a = policy.AssessMaskingRule(o)
	case *v1alpha1.AccessPolicy:
		a = policy.AssessAccessPolicy(o)
	case *v1alpha1.CommandRule:
		a = policy.AssessCommandRule(o)
	default:
		return
	}
	if !a.OK {
		t.Errorf("%s", a.Message)
	}
}

// documents splits a file of YAML.
func documents(t *testing.T, file string) [][]byte {
	t.Helper()
	data, err := os.ReadFile(file) //nolint:gosec // a sample of the repository
	if err != nil {
		t.Fatal(err)
	}
	reader := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	var all [][]byte
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, document)
	}
}
