package controllers_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/wrappers"
)

var _ = Describe("An AccessProxy", func() {
	proxyIn := func(p place, spec v1alpha1.AccessProxySpec) *v1alpha1.AccessProxy {
		GinkgoHelper()
		proxy := &v1alpha1.AccessProxy{ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: v1alpha1.AccessProxyDefault}, Spec: spec}
		Expect(k8s.Create(ctx, proxy)).To(Succeed())
		DeferCleanup(func() { Expect(client.IgnoreNotFound(k8s.Delete(ctx, proxy))).To(Succeed()) })
		return proxy
	}
	expect := func(proxy *v1alpha1.AccessProxy, status metav1.ConditionStatus, reason string) {
		GinkgoHelper()
		Eventually(func(g Gomega) {
			checkCondition(g, get(g, proxy).Status.Conditions, v1alpha1.ConditionReady, status, reason)
			g.Expect(proxy.Status.ObservedGeneration).To(Equal(proxy.Generation))
		}).Should(Succeed())
	}

	It("says how many proxies run, and how, and what became of that", func() {
		p := newPlace().withTarget()
		proxy := proxyIn(p, v1alpha1.AccessProxySpec{
			Replicas: ptr.To[int32](2), Drain: &metav1.Duration{Duration: 5 * time.Minute},
			Resources:  &v1alpha1.ProxyResources{Requests: &v1alpha1.ResourceAmounts{Memory: ptr.To(resource.MustParse("1Gi"))}},
			Exposure:   &v1alpha1.ProxyExposure{Type: v1alpha1.ExposureLoadBalancer, Hostnames: []string{"db.example.com"}},
			Scheduling: &v1alpha1.ProxyScheduling{NodeSelector: map[string]string{"pool": "gates"}},
		})
		expect(proxy, metav1.ConditionTrue, v1alpha1.ReasonIdle)

		Expect(k8s.Create(ctx, wrappers.MakeGrant(p.gate, "report").Obj())).To(Succeed())
		Eventually(func(g Gomega) { g.Expect(p.deployment(g).Spec.Replicas).To(HaveValue(BeEquivalentTo(2))) }).Should(Succeed())
		expect(proxy, metav1.ConditionUnknown, v1alpha1.ReasonProgressing)
		pod := p.deployment(NewWithT(GinkgoT())).Spec.Template.Spec
		Expect(pod.NodeSelector).To(Equal(map[string]string{"pool": "gates"}))
		Expect(pod.TerminationGracePeriodSeconds).To(HaveValue(BeEquivalentTo(330)))
		Expect(pod.Containers[0].Args).To(ContainElements("--drain=5m0s", "--peers=cardea-proxy-peers."+p.gate+".svc"))
		Expect(pod.Containers[0].Resources.Limits.Memory().String()).To(Equal("1Gi"), "a limit below the request is none that the API server takes")

		service := get(NewWithT(GinkgoT()), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: v1alpha1.ProxyName}})
		Expect(service.Spec.Type).To(Equal(corev1.ServiceTypeLoadBalancer))
		Expect(service.Spec.Ports).To(HaveLen(1), "metrics are not for the outside")

		p.replicasUp(2)
		expect(proxy, metav1.ConditionTrue, v1alpha1.ReasonReady)
		Expect(proxy.Status.ReadyReplicas).To(BeEquivalentTo(2))
	})

	It("lets go of what it said when it is deleted", func() {
		p := newPlace().withTarget()
		proxy := proxyIn(p, v1alpha1.AccessProxySpec{Replicas: ptr.To[int32](3)})
		Expect(k8s.Create(ctx, wrappers.MakeGrant(p.gate, "report").Obj())).To(Succeed())
		Eventually(func(g Gomega) { g.Expect(p.deployment(g).Spec.Replicas).To(HaveValue(BeEquivalentTo(3))) }).Should(Succeed())
		Expect(k8s.Delete(ctx, proxy)).To(Succeed())
		Eventually(func(g Gomega) { g.Expect(p.deployment(g).Spec.Replicas).To(HaveValue(BeEquivalentTo(1))) }).Should(Succeed())
	})

	It("has its replicas find each other by name, also while they drain", func() {
		p := newPlace().withTarget()
		Eventually(func(g Gomega) {
			s := get(g, &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: v1alpha1.ProxyPeersName}})
			g.Expect(s.Spec.ClusterIP).To(Equal(corev1.ClusterIPNone))
			g.Expect(s.Spec.PublishNotReadyAddresses).To(BeTrue())
		}).Should(Succeed())
	})
})

var _ = Describe("A Target with roles for sessions", func() {
	It("needs the administrator's login, and lets the proxy read that alone", func() {
		p := newPlace()
		target := wrappers.MakeTarget(p.gate, "orders-db").Obj()
		target.Spec.Postgres.Login = nil
		target.Spec.Postgres.EphemeralRole = &v1alpha1.EphemeralRole{AdminSecretRef: v1alpha1.ObjectName{Name: "orders-login"}, InRoles: []string{"readers"}}
		Expect(k8s.Create(ctx, target)).To(Succeed())
		expectTarget(target, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonReferenceMissing)
		Expect(k8s.Create(ctx, p.login("orders-db"))).To(Succeed())
		expectTarget(target, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
		Eventually(func(g Gomega) { g.Expect(p.readable(g, "secrets")).To(Equal([]string{"orders-login"})) }).Should(Succeed())
	})
})
