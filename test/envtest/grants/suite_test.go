// Package grants_test attacks the approval of grants: two operators run at once, as their own
// account, the admission policies are installed and no webhook answers, and everybody may do
// everything that RBAC can give, so that only what the product enforces stands in the way.
package grants_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers"
	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
	"github.com/cardea-dev/cardea/test/wrappers"
)

const root = apiserver.OperatorNamespace

// shiftedClock is the real clock, moved forward by the specs that are about long times.
type shiftedClock struct {
	mu    sync.Mutex
	shift time.Duration
}

func (c *shiftedClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.shift)
}

func (c *shiftedClock) Since(t time.Time) time.Duration { return c.Now().Sub(t) }

func (c *shiftedClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shift += d
}

var (
	cluster *apiserver.Cluster
	admin   client.Client
	clk     = &shiftedClock{}
	ctx     context.Context

	authenticated = "system:authenticated"
	alice         = apiserver.User{Name: "alice", Groups: []string{"dba", "security"}} // makes the grants
	dora          = apiserver.User{Name: "dora", Groups: []string{"dba"}}
	dan           = apiserver.User{Name: "dan", Groups: []string{"dba"}}
	sue           = apiserver.User{Name: "sue", Groups: []string{"security"}}
	eve           = apiserver.User{Name: "eve", Groups: []string{"developers"}}
	operator      = apiserver.User{Name: apiserver.Operator}
)

func TestGrants(t *testing.T) {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		t.Skip("KUBEBUILDER_ASSETS names no folder with kube-apiserver and etcd")
	}
	RegisterFailHandler(Fail)
	SetDefaultEventuallyTimeout(3 * time.Minute)
	SetDefaultEventuallyPollingInterval(50 * time.Millisecond)
	RunSpecs(t, "Grants")
}

var _ = BeforeSuite(func() {
	klog.SetLogger(GinkgoLogr)
	ctrl.SetLogger(GinkgoLogr)
	var cancel context.CancelFunc
	ctx, cancel = context.WithCancel(context.Background())
	var err error
	cluster, err = apiserver.Start()
	Expect(err).NotTo(HaveOccurred())
	DeferCleanup(func() { Expect(cluster.Stop()).To(Succeed()) })
	admin, err = cluster.Admin()
	Expect(err).NotTo(HaveOccurred())
	for _, o := range []client.Object{apiserver.AllowAll(), apiserver.Namespace(root)} {
		Expect(admin.Create(ctx, o)).To(Succeed())
	}
	_, err = cluster.Kubectl(apiserver.User{}, "", "apply", "--server-side", "-k", apiserver.Root("config", "admission"))
	Expect(err).NotTo(HaveOccurred())
	for range 2 {
		run(cancel)
	}
	DeferCleanup(cancel)
})

// run starts an operator, that takes no notice of others: leader election keeps them apart
// elsewhere, and must not have to.
func run(cancel context.CancelFunc) {
	GinkgoHelper()
	c := rest.CopyConfig(cluster.Config)
	c.Impersonate = rest.ImpersonationConfig{UserName: operator.Name}
	mgr, err := ctrl.NewManager(c, ctrl.Options{
		Scheme: cluster.Scheme, Cache: controllers.CacheOptions(), Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: ptr.To(true)},
	})
	Expect(err).NotTo(HaveOccurred())
	Expect(controllers.SetupWithManager(ctx, mgr, controllers.Options{
		RootNamespace: root, ProxyImage: "proxy:test", ProxyReplicas: 1, IdleTimeout: time.Minute,
		Rotation: 24 * time.Hour, Overlap: time.Hour, Lead: 2 * time.Minute, APIServerPorts: []int32{443}, Clock: clk,
	})).To(Succeed())
	done := make(chan struct{})
	go func() {
		defer GinkgoRecover()
		defer close(done)
		Expect(mgr.Start(ctx)).To(Succeed())
	}()
	DeferCleanup(func() {
		cancel()
		Eventually(done).Should(BeClosed())
	})
}

var places int

// place is a gate with a Target, and a namespace of tenants that takes its credentials.
type place struct{ gate, shop string }

func newPlace() place {
	GinkgoHelper()
	places++
	p := place{fmt.Sprintf("gate-%d", places), fmt.Sprintf("shop-%d", places)}
	login := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: "orders-login", Labels: map[string]string{v1alpha1.LabelTarget: "orders-db"}},
		Type:       corev1.SecretTypeBasicAuth, StringData: map[string]string{"username": "app", "password": "upstream"},
	}
	for _, o := range []client.Object{
		apiserver.Namespace(p.gate), apiserver.Namespace(p.shop, v1alpha1.LabelAcceptFrom, p.gate), login,
		wrappers.MakeTarget(p.gate, "orders-db").Label("gate", p.gate).Obj(),
	} {
		Expect(admin.Create(ctx, o)).To(Succeed())
	}
	return p
}

// policy makes a policy that names everybody.
func (p place) policy(change func(*wrappers.Policy)) *v1alpha1.AccessPolicy {
	GinkgoHelper()
	w := wrappers.MakePolicy(p.gate, "prod").Naming("*", "*").NamingUsers("*")
	change(w)
	policy := w.Obj()
	Expect(admin.Create(ctx, policy)).To(Succeed())
	return policy
}

// ask has alice make a grant, and returns it with the request that asks about it.
func (p place) ask(change func(*wrappers.Grant)) (*v1alpha1.AccessGrant, *v1alpha1.ApprovalRequest) {
	GinkgoHelper()
	w := wrappers.MakeGrant(p.gate, "report").For(p.shop, "agent").CreatedBy(alice.Name)
	if change != nil {
		change(w)
	}
	grant := w.Obj()
	Expect(as(alice).Create(ctx, grant)).To(Succeed())
	return grant, pending(grant)
}

// pending waits until a grant waits for approval, and returns the request it waits for.
func pending(grant *v1alpha1.AccessGrant) *v1alpha1.ApprovalRequest {
	GinkgoHelper()
	request := &v1alpha1.ApprovalRequest{}
	Eventually(func(g Gomega) {
		get(g, grant)
		g.Expect(condition(grant, v1alpha1.ConditionApproved)).To(Equal("Unknown Pending"))
		g.Expect(condition(grant, v1alpha1.ConditionReady)).To(Equal("Unknown Pending"))
		g.Expect(grant.Status.ObservedGeneration).To(Equal(grant.Generation))
		g.Expect(grant.Status.Verifiers).To(BeEmpty())
		g.Expect(admin.Get(ctx, client.ObjectKey{Namespace: grant.Namespace, Name: grant.Status.Approval.Request}, request)).To(Succeed())
		g.Expect(request.Spec.GrantRef.UID).To(Equal(grant.UID))
		g.Expect(request.Spec.GrantRef.Generation).To(Equal(grant.Generation))
	}).Should(Succeed())
	return request
}

func as(u apiserver.User) client.Client {
	GinkgoHelper()
	c, err := cluster.As(u)
	Expect(err).NotTo(HaveOccurred())
	return c
}

func get[T client.Object](g Gomega, obj T) T {
	g.Expect(admin.Get(ctx, client.ObjectKeyFromObject(obj), obj)).To(Succeed())
	return obj
}

// condition returns status and reason.
func condition(grant *v1alpha1.AccessGrant, kind string) string {
	for _, c := range grant.Status.Conditions {
		if c.Type == kind {
			return string(c.Status) + " " + c.Reason
		}
	}
	return ""
}

// becomes waits for a grant's condition Approved.
func becomes(grant *v1alpha1.AccessGrant, want string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(condition(get(g, grant), v1alpha1.ConditionApproved)).To(Equal(want), "%+v", grant.Status)
	}).Should(Succeed())
}

// stays checks that a grant gets no credential.
func stays(grant *v1alpha1.AccessGrant, want string) {
	GinkgoHelper()
	Consistently(func(g Gomega) {
		g.Expect(condition(get(g, grant), v1alpha1.ConditionApproved)).To(Equal(want))
		g.Expect(grant.Status.Verifiers).To(BeEmpty())
	}, "700ms").Should(Succeed())
}

// decide adds a decision as u does without a webhook: written out in full.
func decide(u apiserver.User, request *v1alpha1.ApprovalRequest, decision v1alpha1.DecisionValue, change ...func(*v1alpha1.ApprovalDecision)) error {
	GinkgoHelper()
	c := as(u)
	r := request.DeepCopy()
	d := v1alpha1.ApprovalDecision{Approver: u.Name, Groups: append(groupsOf(u), authenticated), Decision: decision, Comment: "because"}
	for _, f := range change {
		f(&d)
	}
	// The operator writes the same status meanwhile.
	return retry.OnError(retry.DefaultBackoff, apierrors.IsConflict, func() error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(r), r); err != nil {
			return err
		}
		r.Status.Decisions = append(r.Status.Decisions, d)
		return c.Status().Update(ctx, r)
	})
}

// groupsOf are those that the API server knows u by, but for authenticated.
func groupsOf(u apiserver.User) []string {
	if parts := strings.Split(u.Name, ":"); len(u.Groups) == 0 && len(parts) == 4 && strings.HasPrefix(u.Name, "system:serviceaccount:") {
		return []string{"system:serviceaccounts", "system:serviceaccounts:" + parts[2]}
	}
	return append([]string{}, u.Groups...)
}

func change(u apiserver.User, obj client.Object, patch string) error {
	GinkgoHelper()
	return as(u).Patch(ctx, obj, client.RawPatch("application/merge-patch+json", []byte(patch)))
}
