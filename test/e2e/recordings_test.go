//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"testing"

	"github.com/klauspost/compress/zstd"
	corev1 "k8s.io/api/core/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// recorded returns the recordings of a grant, one text of JSON lines for each session.
// It decodes the ConfigMaps by itself, without the product's reader.
func recorded(t *testing.T, grant string) map[string][]byte {
	t.Helper()
	list := get[corev1.ConfigMapList](t, "-n", gate, "configmaps", "-l", v1alpha1.LabelGrant+"="+grant+","+v1alpha1.LabelSession)
	slices.SortFunc(list.Items, func(a, b corev1.ConfigMap) int { return segmentIndex(t, a) - segmentIndex(t, b) })
	decoder, err := zstd.NewReader(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer decoder.Close()
	texts := map[string][]byte{}
	for _, cm := range list.Items {
		session := cm.Labels[v1alpha1.LabelSession]
		if texts[session], err = decoder.DecodeAll(cm.BinaryData["segment"], texts[session]); err != nil {
			t.Fatalf("%s: %v", cm.Name, err)
		}
	}
	return texts
}

func segmentIndex(t *testing.T, cm corev1.ConfigMap) int {
	t.Helper()
	n, err := strconv.Atoi(cm.Labels[v1alpha1.LabelSegment])
	if err != nil {
		t.Fatalf("%s: %v", cm.Name, err)
	}
	return n
}

// commands returns the texts of the forwarded commands in a recording.
func commands(t *testing.T, text []byte) []string {
	t.Helper()
	var out []string
	for line := range bytes.Lines(text) {
		var e recording.Event
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if e.Command != nil {
			out = append(out, e.Command.Text)
		}
	}
	return out
}
