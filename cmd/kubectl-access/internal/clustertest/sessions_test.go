package clustertest

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/configmap"
	"github.com/cardea-dev/cardea/proxy/recording/store/dir"
	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
	"github.com/cardea-dev/cardea/test/recorder"
)

// record records a session of several segments into a store and returns how it ended.
func record(t *testing.T, store recording.Store, session string) v1alpha1.SessionRecording {
	t.Helper()
	return recordIn(t, t.TempDir(), store, session)
}

// recordIn does so with the spool of that folder: the next one goes on with its chain.
func recordIn(t *testing.T, spooled string, store recording.Store, session string) v1alpha1.SessionRecording {
	t.Helper()
	var status v1alpha1.SessionRecording
	spool, err := recording.NewSpool(recording.Config{
		Dir:      spooled,
		Key:      recorder.Key,
		StoreFor: func(context.Context, recording.Started) (recording.Store, error) { return store, nil },
		Progress: func(_ string, at recording.Stored) {
			status = v1alpha1.SessionRecording{Segments: int32(at.Segments), Digest: at.Digest, State: at.State, Recorder: at.Recorder, Number: int64(at.Number)}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- spool.Run(ctx) }()
	r, err := spool.Open(ctx, recording.Started{Session: session, Namespace: gate, Grant: "report-agent", Target: "orders-db", Subject: "sa", Client: "10.1.2.3", Proxy: "p"})
	if err != nil {
		t.Fatal(err)
	}
	masked := "***"
	for _, e := range []recording.Event{
		{Kind: recording.KindCommand, Command: &recording.Command{ID: 1, Text: "SELECT email FROM customers", Decision: "Allowed"}},
		{Kind: recording.KindResponse, Response: &recording.Response{ID: 1, Columns: []string{"email"}, Masked: []int{0}, Rows: [][]*string{{&masked}}, Final: true, Tag: "SELECT 1", RowCount: 1}},
		{Kind: recording.KindCommand, Command: &recording.Command{ID: 2, Text: "DROP DATABASE orders\x1b[2J", Decision: "Denied", Code: "CDA-2001", Rule: "Baseline/drop"}},
	} {
		if err := r.Record(&e); err != nil {
			t.Fatal(err)
		}
		if err := spool.Drain(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close("ClientClosed"); err != nil {
		t.Fatal(err)
	}
	if err := spool.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if err := spool.Close(); err != nil {
		t.Fatal(err)
	}
	return status
}

func proxyStore(t *testing.T) recording.Store {
	t.Helper()
	config := rest.CopyConfig(cluster.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: proxy.Name}
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return configmap.New(c.CoreV1().RESTClient(), gate)
}

func TestSessionsAndReplay(t *testing.T) {
	s := newSession("report-agent-abcde", "orders-db")
	if err := as(t, proxy).Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if _, out, errOut := plugin(dora, "replay", s.Name); !strings.Contains(errOut, "nothing of session report-agent-abcde has been stored yet") {
		t.Errorf("%s%s", out, errOut)
	}
	s.Status.Recording = record(t, proxyStore(t), s.Name)
	s.Status.EndedAt = &metav1.MicroTime{Time: time.Now().Add(-time.Minute)}
	s.Status.Commands = v1alpha1.CommandCounters{Forwarded: 1, Denied: 1}
	s.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Ended", LastTransitionTime: metav1.Now()}}
	if err := as(t, proxy).Status().Update(t.Context(), s); err != nil {
		t.Fatal(err)
	}

	lists := map[string]struct {
		args string
		want bool
	}{
		"all":             {"sessions", true},
		"grant":           {"sessions --grant report-agent", true},
		"other grant":     {"sessions --grant x", false},
		"target":          {"sessions --target orders-db", true},
		"other target":    {"sessions --target x", false},
		"subject":         {"sessions --subject report-agent", true},
		"user name":       {"sessions --subject system:serviceaccount:shop:report-agent", true},
		"other subject":   {"sessions --subject x", false},
		"since":           {"sessions --since 1h", true},
		"since later":     {"sessions --since 10s --target orders-db", false},
		"everywhere":      {"sessions -A -o wide", true},
		"other namespace": {"sessions -n default", false},
		"json":            {"sessions -o json", true},
		"yaml":            {"sessions -o yaml", true},
	}
	for name, c := range lists {
		t.Run(name, func(t *testing.T) {
			code, out, errOut := plugin(dora, strings.Fields(c.args)...)
			if code != 0 || strings.Contains(out, s.Name) != c.want || (c.want == strings.Contains(errOut, "No sessions found")) {
				t.Errorf("exit %d\n%s%s", code, out, errOut)
			}
			if name == "json" || name == "yaml" {
				var list struct {
					Kind  string
					Items []v1alpha1.Session
				}
				if err := yaml.Unmarshal([]byte(out), &list); err != nil || list.Kind != "List" || list.Items[0].Kind != "Session" {
					t.Errorf("%v: %+v", err, list)
				}
			}
		})
	}

	code, out, errOut := plugin(dora, "replay", s.Name)
	for _, want := range []string{"SELECT email FROM customers", "email*", "Denied  CDA-2001, by Baseline/drop", `DROP DATABASE orders\x1b[2J`, "INTACT: 4 segments, 5 events, complete"} {
		if !strings.Contains(out, want) || code != 0 || strings.Contains(out, "\x1b") {
			t.Errorf("exit %d, want %q in\n%s%s", code, want, out, errOut)
		}
	}
	if code, out, _ := plugin(dora, "replay", s.Name, "--verify"); code != 0 || strings.Count(out, "\n") != 1 {
		t.Errorf("--verify: exit %d\n%s", code, out)
	}
	_, out, _ = plugin(dora, "replay", s.Name, "-o", "json")
	var e recording.Event
	if err := json.Unmarshal([]byte(strings.Split(out, "\n")[0]), &e); err != nil || e.Started == nil {
		t.Errorf("-o json: %v\n%s", err, out)
	}

	// Somebody who is let past the policies deletes history.
	if err := as(t, operator).Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: gate, Name: configmap.Name(s.Name, 3)}}); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := plugin(dora, "replay", s.Name); code != 2 || !strings.Contains(out, "BROKEN") || !strings.Contains(out, "segment 3: missing") {
		t.Errorf("the end is missing: exit %d\n%s", code, out)
	}
	if err := as(t, operator).Delete(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: gate, Name: configmap.Name(s.Name, 1)}}); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := plugin(dora, "replay", s.Name, "--verify"); code != 2 || !strings.Contains(out, "segment 1: missing") {
		t.Errorf("a part is missing: exit %d\n%s", code, out)
	}
}

func TestReplayFromDir(t *testing.T) {
	root := t.TempDir()
	recordings := filepath.Join(root, ".recordings")
	s := newSession("local-abcde", "orders-db")
	s.Status.Recording = record(t, dir.New(recordings), s.Name)
	if err := os.MkdirAll(filepath.Join(root, ".sessions"), 0o700); err != nil {
		t.Fatal(err)
	}
	text, err := yaml.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, ".sessions", "local-abcde.yaml"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{root, recordings} {
		if code, out, errOut := plugin(apiserver.User{}, "replay", "local-abcde", "--dir", from); code != 0 || !strings.Contains(out, "INTACT: 4 segments") {
			t.Errorf("%s: exit %d\n%s%s", from, code, out, errOut)
		}
	}
	if code, _, errOut := plugin(apiserver.User{}, "replay", "nobody", "--dir", root); code != 1 || !strings.Contains(errOut, "recordings: local-abcde") {
		t.Errorf("exit %d\n%s", code, errOut)
	}
	if err := os.Truncate(filepath.Join(recordings, "local-abcde", "000002.json.zst"), 10); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := plugin(apiserver.User{}, "replay", "local-abcde", "--dir", root); code != 2 || !strings.Contains(out, "segment 2 (000002.json): was altered") {
		t.Errorf("exit %d\n%s", code, out)
	}
}

func TestErrorsSayWhatToDo(t *testing.T) {
	cases := map[string]struct{ args, want string }{
		"no such request":  {"approve nope", "`kubectl access requests -n shop-gate` lists them"},
		"no such grant":    {"revoke nope", "`kubectl access grants -n shop-gate` lists them"},
		"no such session":  {"replay nope", "`kubectl access sessions` lists sessions"},
		"no name":          {"replay", "name one session"},
		"no session name":  {"replay ../x", "is not the name of a session"},
		"format":           {"sessions -o xml", "choose json, yaml or wide"},
		"watch and format": {"requests --watch -o json", "leave out -o json"},
		"decision":         {"sessions --decision Maybe", "choose Allowed, Approved, Denied or Held"},
		"no time":          {"sessions --since tomorrow", "name how long ago it was"},
		"times":            {"sessions --since 1h --until 2h", "--until is before --since"},
		"no pattern":       {"search (", "is no regular expression"},
		"tail nothing":     {"tail nope", "`kubectl access sessions` lists sessions"},
		"terminate":        {"terminate nope", "`kubectl access sessions -n shop-gate` lists them"},
		"no folder":        {"replay x --dir /nonexistent", "--dir names the folder"},
		"no kubeconfig":    {"sessions --context nope", "--context"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			if code, _, errOut := plugin(apiserver.User{}, strings.Fields(c.args)...); code != 1 || !strings.Contains(errOut, c.want) {
				t.Errorf("exit %d: %s", code, errOut)
			}
		})
	}
}

func TestForbiddenNamesTheRole(t *testing.T) {
	for args, role := range map[string]string{
		"sessions": "cardea-auditor", "grants": "cardea-auditor", "requests": "cardea-approver", "requests -w": "cardea-approver",
		"replay x": "cardea-auditor", "verify x": "cardea-auditor", "verify --all": "cardea-auditor", "revoke x": "cardea-admin", "approve x": "", "search x": "cardea-auditor", "tail x": "cardea-auditor", "terminate x": "cardea-admin",
	} {
		t.Run(args, func(t *testing.T) {
			code, _, errOut := plugin(apiserver.User{Name: "system:anonymous"}, strings.Fields(args)...)
			if code != 1 || !strings.Contains(errOut, "forbidden") || !strings.Contains(errOut, role) {
				t.Errorf("exit %d: %s", code, errOut)
			}
		})
	}
}

// TestNotInstalled asks a server that knows no kind of the product: one without CRDs.
func TestNotInstalled(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	for _, args := range []string{"sessions", "grants", "requests", "requests -w", "replay x", "revoke x"} {
		t.Run(args, func(t *testing.T) {
			code, _, errOut := plugin(apiserver.User{}, append(strings.Fields(args), "--server="+server.URL)...)
			if code != 1 || !strings.Contains(errOut, "Cardea is not installed") {
				t.Errorf("exit %d: %s", code, errOut)
			}
		})
	}
}

// TestThroughKubectl runs the built plugin as kubectl runs it.
func TestThroughKubectl(t *testing.T) {
	bin := t.TempDir()
	if out, err := exec.Command("go", "build", "-o", filepath.Join(bin, "kubectl-access"), "github.com/cardea-dev/cardea/cmd/kubectl-access").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(filepath.Join(os.Getenv("KUBEBUILDER_ASSETS"), "kubectl"), "access", "requests", "--kubeconfig", kubeconfig)
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "probe") {
		t.Errorf("%v\n%s", err, out)
	}
}
