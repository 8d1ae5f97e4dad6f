package clustertest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording/store/configmap"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
	"github.com/cardea-dev/cardea/test/recorder"
)

// says fails unless the plugin ended with the code and printed every text.
func says(t *testing.T, u apiserver.User, code int, args string, want ...string) {
	t.Helper()
	got, out, errOut := plugin(u, strings.Fields(args)...)
	for _, text := range want {
		if !strings.Contains(out+errOut, text) {
			t.Errorf("%s: nothing says %q", args, text)
		}
	}
	if got != code {
		t.Errorf("%s: exit %d, want %d", args, got, code)
	}
	if t.Failed() {
		t.Logf("%s%s", out, errOut)
	}
}

// manifests makes a folder as a standalone proxy keeps one, with sessions s1 to s4.
func manifests(t *testing.T) string {
	t.Helper()
	root, spooled := t.TempDir(), t.TempDir()
	for _, folder := range []string{".sessions", ".tls"} {
		if err := os.Mkdir(filepath.Join(root, folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, ".tls", "recording-ca.crt"), recorder.Bundle(), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"s1", "s2", "s3", "s4"} {
		s := newSession(name, "orders-db")
		s.Status.Recording = recordIn(t, spooled, dir.New(filepath.Join(root, ".recordings")), name)
		s.Status.EndedAt = &metav1.MicroTime{Time: time.Now()}
		text, err := yaml.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, ".sessions", name+".yaml"), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestVerifyDir(t *testing.T) {
	nobody := apiserver.User{}
	root := manifests(t)
	recordings := filepath.Join(root, ".recordings")
	says(t, nobody, 0, "verify --all --dir "+root, "INTACT  s1: 4 segments, 5 events, complete, number 1 of recorder", "4 recordings, number 1 to 4", "4 recordings verified with "+root, ": 0 broken")
	says(t, nobody, 0, "verify s2 s3 --dir "+root, "2 recordings verified")
	says(t, nobody, 0, "replay s1 --verify --dir "+root, "INTACT")

	// A copy of the recordings alone, with a copy of the certificates.
	elsewhere, ca, other := t.TempDir(), filepath.Join(t.TempDir(), "ca.crt"), filepath.Join(t.TempDir(), "other.crt")
	if err := os.CopyFS(filepath.Join(elsewhere, "copy"), os.DirFS(recordings)); err != nil {
		t.Fatal(err)
	}
	for path, bundle := range map[string][]byte{ca: recorder.Bundle(), other: recorder.NewAuthority().CertPEM()} {
		if err := os.WriteFile(path, bundle, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	exported := filepath.Join(elsewhere, "copy")
	says(t, nobody, 1, "verify --all --dir "+exported, "--ca names a file with them")
	says(t, nobody, 0, "replay s1 --dir "+exported, "Signatures are not held to the gate's authorities", "INTACT")
	says(t, nobody, 0, "verify --all --dir "+exported+" --ca "+ca, "4 recordings, number 1 to 4")
	says(t, nobody, 1, "verify s1 --dir "+exported+" --ca "+other, "BROKEN  s1", "segment 0 (000000.json): is signed by a recorder that this gate's authorities do not know")
	says(t, nobody, 2, "replay s1 --verify --dir "+exported+" --ca "+other, "authorities do not know")

	remove := func(path ...string) {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(path...)); err != nil {
			t.Fatal(err)
		}
	}
	remove(exported, "s3")
	says(t, nobody, 1, "verify --all --dir "+exported+" --ca "+ca, "session number 3 is missing", "1 broken")
	says(t, nobody, 0, "verify --all --retention 1ns --dir "+exported+" --ca "+ca, "of which 1 were kept for their time")
	remove(recordings, "s4")
	says(t, nobody, 1, "verify --all --dir "+root, "BROKEN  s4", "segment 0: missing", "session s4, number 4, is missing")
	says(t, nobody, 0, "verify --all --retention 1ns --dir "+root, "EXPIRED s4")
	if err := os.Truncate(filepath.Join(recordings, "s2", "000001.json.zst"), 10); err != nil {
		t.Fatal(err)
	}
	says(t, nobody, 1, "verify s1 s2 --dir "+root, "INTACT  s1", "BROKEN  s2", "segment 1 (000001.json): was altered: its 10 bytes of data")
}

func TestVerifyRefuses(t *testing.T) {
	nobody := apiserver.User{}
	root := manifests(t)
	says(t, nobody, 1, "verify --dir "+root, "name sessions, or all of them with --all")
	says(t, nobody, 1, "verify s1 --all --dir "+root, "name sessions, or all of them with --all")
	says(t, nobody, 1, "verify ../s1 --dir "+root, "is not the name of a session")
	says(t, nobody, 1, "verify nobody --dir "+root, "there is no recording of session nobody")
	says(t, nobody, 1, "verify s1 --ca /nonexistent --dir "+root, "no such file")
	says(t, nobody, 1, "verify s1 --ca "+filepath.Join(root, ".sessions", "s1.yaml")+" --dir "+root, "no certificate in PEM")
}

func TestVerifyCluster(t *testing.T) {
	ca := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: gate, Name: v1alpha1.ProxyTLSName}, Data: map[string]string{"recording-ca.crt": string(recorder.Bundle())}}
	if err := as(t, operator).Create(t.Context(), ca); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = as(t, operator).Delete(t.Context(), ca) })
	spooled := t.TempDir()
	for _, name := range []string{"proven-1", "proven-2", "proven-3"} {
		s := newSession(name, "orders-db")
		if err := as(t, proxy).Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		s.Status.Recording = recordIn(t, spooled, proxyStore(t), name)
		s.Status.EndedAt = &metav1.MicroTime{Time: time.Now()}
		if err := as(t, proxy).Status().Update(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	says(t, dora, 0, "verify proven-1 proven-2 proven-3", "INTACT  proven-2: 4 segments, 5 events, complete, number 2 of recorder", "verified with ConfigMap cardea-proxy-tls of namespace "+gate)
	says(t, dora, 0, "replay proven-1 --verify", "INTACT")

	// Somebody who is let past the policies deletes a session and all that speaks of it.
	for i := range 4 {
		if err := as(t, operator).Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: gate, Name: configmap.Name("proven-2", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	says(t, dora, 1, "verify proven-2", "BROKEN  proven-2", "segment 0: missing")
	if err := as(t, operator).Delete(t.Context(), newSession("proven-2", "orders-db")); err != nil {
		t.Fatal(err)
	}
	says(t, dora, 1, "verify --all", "2 recordings, number 1 to 3", "session number 2 is missing")

	// The pod of a session is lost, and what was not stored with it.
	s := newSession("lost", "orders-db")
	if err := as(t, proxy).Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	s.Status.Recording = record(t, proxyStore(t), "lost")
	s.Status.Recording = v1alpha1.SessionRecording{Segments: 2, State: v1alpha1.RecordingCut}
	if err := as(t, operator).Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: gate, Name: configmap.Name("lost", 3)}}); err != nil {
		t.Fatal(err)
	}
	if err := as(t, proxy).Status().Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	says(t, dora, 0, "verify lost", "INTACT  lost", "the proxy was lost")
}
