package controllers_test

import (
	"fmt"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/wrappers"
)

var counter int

// place is a gate namespace with a usable Target and a namespace of tenants that takes
// credentials from it.
type place struct{ gate, shop string }

func makeNamespace(name string, labels ...string) {
	GinkgoHelper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{}}}
	for i := 0; i+1 < len(labels); i += 2 {
		ns.Labels[labels[i]] = labels[i+1]
	}
	Expect(k8s.Create(ctx, ns)).To(Succeed())
}

// newPlace makes the namespaces. Each spec has its own, and leaves no grants behind.
func newPlace() place {
	GinkgoHelper()
	counter++
	p := place{gate: fmt.Sprintf("gate-%d", counter), shop: fmt.Sprintf("shop-%d", counter)}
	makeNamespace(p.gate)
	makeNamespace(p.shop, v1alpha1.LabelAcceptFrom, p.gate)
	DeferCleanup(func() {
		for _, kind := range []client.Object{
			&v1alpha1.AccessGrant{}, &v1alpha1.Target{}, &v1alpha1.Session{}, &v1alpha1.RecordingStore{},
			&v1alpha1.ApprovalRequest{}, &v1alpha1.MaskingRule{}, &v1alpha1.CommandRule{}, &v1alpha1.AccessPolicy{},
		} {
			Expect(k8s.DeleteAllOf(ctx, kind, client.InNamespace(p.gate))).To(Succeed())
		}
	})
	return p
}

func (p place) withTarget() place {
	GinkgoHelper()
	Expect(k8s.Create(ctx, p.login("orders-db"))).To(Succeed())
	Expect(k8s.Create(ctx, wrappers.MakeTarget(p.gate, "orders-db").Obj())).To(Succeed())
	return p
}

func (p place) login(consent string) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: "orders-login", Labels: map[string]string{}},
		Type:       corev1.SecretTypeBasicAuth,
		StringData: map[string]string{"username": "app", "password": "upstream"},
	}
	if consent != "" {
		s.Labels[v1alpha1.LabelTarget] = consent
	}
	return s
}

// proxyUp plays the Deployment controller.
func (p place) proxyUp() {
	GinkgoHelper()
	p.replicasUp(1)
}

func (p place) replicasUp(n int32) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		d := p.deployment(g)
		g.Expect(d.Spec.Replicas).To(HaveValue(Equal(n)))
		d.Status = appsv1.DeploymentStatus{ObservedGeneration: d.Generation, Replicas: n, AvailableReplicas: n, ReadyReplicas: n, UpdatedReplicas: n}
		g.Expect(k8s.Status().Update(ctx, d)).To(Succeed())
	}).Should(Succeed())
}

func (p place) deployment(g Gomega) *appsv1.Deployment {
	d := &appsv1.Deployment{}
	g.Expect(k8s.Get(ctx, client.ObjectKey{Namespace: p.gate, Name: v1alpha1.ProxyName}, d)).To(Succeed())
	return d
}

func (p place) secret(g Gomega, name string) *corev1.Secret {
	s := &corev1.Secret{}
	g.Expect(k8s.Get(ctx, client.ObjectKey{Namespace: p.shop, Name: name}, s)).To(Succeed())
	return s
}

func get[T client.Object](g Gomega, obj T) T {
	g.Expect(k8s.Get(ctx, client.ObjectKeyFromObject(obj), obj)).To(Succeed())
	return obj
}

func gone(obj client.Object) func() bool {
	return func() bool {
		return apierrors.IsNotFound(k8s.Get(ctx, client.ObjectKeyFromObject(obj), obj))
	}
}

// expectReady waits until a grant's Ready has the status and reason.
func expectReady(grant *v1alpha1.AccessGrant, want metav1.ConditionStatus, reason string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		checkCondition(g, get(g, grant).Status.Conditions, v1alpha1.ConditionReady, want, reason)
	}).Should(Succeed())
}

func checkCondition(g Gomega, conditions []metav1.Condition, kind string, want metav1.ConditionStatus, reason string) {
	c := meta.FindStatusCondition(conditions, kind)
	g.Expect(c).NotTo(BeNil(), "condition %s of %v", kind, conditions)
	g.Expect(string(c.Status)+" "+c.Reason).To(Equal(string(want)+" "+reason), c.Message)
}

// kstatus is what Flux and other tools make of an object.
func kstatus(g Gomega, obj client.Object) status.Status {
	u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(obj)
	g.Expect(err).NotTo(HaveOccurred())
	r, err := status.Compute(&unstructured.Unstructured{Object: u})
	g.Expect(err).NotTo(HaveOccurred())
	return r.Status
}

// touch makes the operator look at a grant again.
func touch(grant *v1alpha1.AccessGrant) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		get(g, grant)
		grant.Spec.Reason += "."
		g.Expect(k8s.Update(ctx, grant)).To(Succeed())
	}).Should(Succeed())
}
