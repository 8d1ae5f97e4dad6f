package configmap_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/proxy/recording/store/configmap"
	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
	"github.com/cardea-dev/cardea/test/recorder"
)

const gate = "shop-gate"

// admin may do everything; proxy is the gate's account, under the policies in config/.
var (
	base         *rest.Config
	admin, proxy kubernetes.Interface
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	cluster, err := apiserver.Start()
	if err == nil {
		defer func() { _ = cluster.Stop() }()
		err = prepare(cluster)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

func prepare(cluster *apiserver.Cluster) error {
	c, err := cluster.Admin()
	if err != nil {
		return err
	}
	if err := c.Create(context.Background(), apiserver.AllowAll()); err != nil {
		return err
	}
	if err := c.Create(context.Background(), apiserver.Namespace(gate)); err != nil {
		return err
	}
	if _, err := cluster.Kubectl(apiserver.User{}, "", "apply", "--server-side", "-k", apiserver.Root("config", "admission")); err != nil {
		return err
	}
	if admin, err = kubernetes.NewForConfig(cluster.Config); err != nil {
		return err
	}
	base = cluster.Config
	if proxy, err = proxyOf(gate); err != nil {
		return err
	}
	// The policies take effect a moment after they are stored.
	probe := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "cardea-rec-probe-x"}}
	return wait.PollUntilContextTimeout(context.Background(), 50*time.Millisecond, 2*time.Minute, true, func(ctx context.Context) (bool, error) {
		_, err := admin.CoreV1().ConfigMaps(gate).Create(ctx, probe, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return apierrors.IsForbidden(err), nil
	})
}

// proxyOf returns a client of the proxy of a gate namespace.
func proxyOf(namespace string) (kubernetes.Interface, error) {
	config := rest.CopyConfig(base)
	config.Impersonate = rest.ImpersonationConfig{UserName: apiserver.Proxy(namespace)}
	return kubernetes.NewForConfig(config)
}

func segment(session string, index int, size int) recording.Segment {
	s := recording.Segment{Session: session, Grant: "report-agent", Index: index, Previous: strings.Repeat("0", 64), First: 3, Last: 9, Data: make([]byte, size)}
	_, _ = rand.NewChaCha8([32]byte{byte(size)}).Read(s.Data)
	return recorder.Sign(s)
}

func TestPutAndRead(t *testing.T) {
	store, source := configmap.New(proxy.CoreV1().RESTClient(), gate), configmap.NewSource(admin.CoreV1().RESTClient(), gate)
	want := segment("read-x7k2p", 12, recording.MaxSegmentData)
	if err := store.Put(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	cm, err := admin.CoreV1().ConfigMaps(gate).Get(t.Context(), "cardea-rec-read-x7k2p-000012", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if cm.Immutable == nil || !*cm.Immutable || cm.Labels[v1alpha1.LabelSegment] != "12" || cm.Labels[v1alpha1.LabelGrant] != "report-agent" ||
		cm.Annotations[configmap.AnnotationBytes] != fmt.Sprint(recording.MaxSegmentData) {
		t.Errorf("metadata %v %v %v", cm.Immutable, cm.Labels, cm.Annotations)
	}
	refs, err := source.List(t.Context(), "read-x7k2p")
	if err != nil || len(refs) != 1 || refs[0].Index != 12 {
		t.Fatalf("%v, %v", refs, err)
	}
	got, err := source.Get(t.Context(), "read-x7k2p", refs[0])
	if err != nil || got.Digest != want.Digest || !bytes.Equal(got.Data, want.Data) {
		t.Errorf("read another segment: %v", err)
	}
}

// TestTakenNames: a name that is taken keeps no segment from being stored, and an attempt
// that is repeated ends well, however often.
func TestTakenNames(t *testing.T) {
	store, source := configmap.New(proxy.CoreV1().RESTClient(), gate), configmap.NewSource(admin.CoreV1().RESTClient(), gate)
	first, other := segment("taken", 0, 10), segment("taken", 0, 11)
	for range 3 {
		for _, s := range []recording.Segment{first, other} {
			if err := store.Put(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	refs, err := source.List(t.Context(), "taken")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, ref := range refs {
		s, err := source.Get(t.Context(), "taken", ref)
		if err != nil || ref.Index != 0 {
			t.Fatalf("%v: %v", ref, err)
		}
		found[s.Digest] = true
	}
	if !found[first.Digest] || !found[other.Digest] || len(refs) != 3 {
		t.Errorf("found %v", refs)
	}
}

func TestRefusals(t *testing.T) {
	store := configmap.New(proxy.CoreV1().RESTClient(), gate)
	large := segment("s", 0, recording.MaxSegmentData+1)
	path := segment("s", 0, 1)
	path.Session = "../x"
	undigested := segment("s", 0, 1)
	undigested.Digest = ""
	for name, s := range map[string]recording.Segment{"too large": large, "no session": path, "no digest": undigested, "no index": segment("s", -1, 1)} {
		t.Run(name, func(t *testing.T) {
			if err := store.Put(t.Context(), s); err == nil {
				t.Error("stored")
			}
		})
	}
	if err := configmap.New(proxy.CoreV1().RESTClient(), "kube-system").Put(t.Context(), segment("s", 0, 1)); err == nil {
		t.Error("stored in another namespace")
	}
}

func TestQuotaIsFull(t *testing.T) {
	const ns = "quota-gate"
	if _, err := admin.CoreV1().Namespaces().Create(t.Context(), apiserver.Namespace(ns), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"count/configmaps": resource.MustParse("0")}}}
	q, err := admin.CoreV1().ResourceQuotas(ns).Create(t.Context(), quota, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// No controller runs here: what is used is said by hand.
	q.Status = corev1.ResourceQuotaStatus{Hard: q.Spec.Hard, Used: corev1.ResourceList{"count/configmaps": resource.MustParse("0")}}
	if _, err := admin.CoreV1().ResourceQuotas(ns).UpdateStatus(t.Context(), q, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c, err := proxyOf(ns)
	if err != nil {
		t.Fatal(err)
	}
	// The API server sees the quota a moment after it is written.
	store := configmap.New(c.CoreV1().RESTClient(), ns)
	for i, began := 0, time.Now(); err == nil && time.Since(began) < 2*time.Minute; i++ {
		err = store.Put(t.Context(), segment(fmt.Sprintf("s%d", i), 0, 1))
	}
	if err == nil || !strings.Contains(err.Error(), recording.ErrFull.Error()) {
		t.Errorf("beyond the quota: %v", err)
	}
}

func TestLimit(t *testing.T) {
	store := configmap.New(proxy.CoreV1().RESTClient(), gate)
	store.Limit(800, 600) // and an eighth more for sessions that are open
	for i, want := range []error{nil, nil, nil, recording.ErrFull} {
		if err := store.Put(t.Context(), segment("limit", i, 100)); !errors.Is(err, want) {
			t.Errorf("segment %d: %v, want %v", i, err, want)
		}
	}
	store.Limit(800, 900)
	if err := store.Put(t.Context(), segment("limit", 3, 1)); !errors.Is(err, recording.ErrFull) {
		t.Errorf("after a count: %v", err)
	}
	store.Limit(800, 500)
	if err := store.Put(t.Context(), segment("limit", 3, 100)); err != nil {
		t.Errorf("after retention made room: %v", err)
	}
}
