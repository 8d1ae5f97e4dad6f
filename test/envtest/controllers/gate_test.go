package controllers_test

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording"
	"github.com/cardea-dev/cardea/test/wrappers"
)

// objects are all that the operator makes for a gate.
func (p place) objects() []client.Object {
	in := func(namespace, name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: name}
	}
	return []client.Object{
		&appsv1.Deployment{ObjectMeta: in(p.gate, v1alpha1.ProxyName)},
		&corev1.Service{ObjectMeta: in(p.gate, v1alpha1.ProxyName)},
		&corev1.Service{ObjectMeta: in(p.gate, v1alpha1.ProxyPeersName)},
		&corev1.ServiceAccount{ObjectMeta: in(p.gate, v1alpha1.ProxyName)},
		&rbacv1.Role{ObjectMeta: in(p.gate, v1alpha1.ProxyName)},
		&rbacv1.RoleBinding{ObjectMeta: in(p.gate, v1alpha1.ProxyName)},
		&networkingv1.NetworkPolicy{ObjectMeta: in(p.gate, v1alpha1.ProxyName)},
		&policyv1.PodDisruptionBudget{ObjectMeta: in(p.gate, v1alpha1.ProxyName)},
		&corev1.Secret{ObjectMeta: in(p.gate, v1alpha1.ProxyTLSName)},
		&corev1.ConfigMap{ObjectMeta: in(p.gate, v1alpha1.ProxyTLSName)},
		&corev1.Secret{ObjectMeta: in(root, "cardea-ca-"+p.gate)},
		&rbacv1.Role{ObjectMeta: in(root, "cardea-proxy-"+p.gate)},
		&rbacv1.RoleBinding{ObjectMeta: in(root, "cardea-proxy-"+p.gate)},
	}
}

// readable returns the names that the proxy's Role lets it read.
func (p place) readable(g Gomega, resource string) []string {
	role := get(g, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: v1alpha1.ProxyName}})
	var out []string
	for _, rule := range role.Rules {
		if rule.Resources[0] == resource && rule.Verbs[0] == "get" {
			g.Expect(rule.ResourceNames).NotTo(BeEmpty(), "the proxy may get any of %s", resource)
			out = append(out, rule.ResourceNames...)
		}
	}
	return out
}

var _ = Describe("A gate namespace", func() {
	It("gets a proxy at rest with its first Target, and loses everything with the last", func() {
		p := newPlace().withTarget()
		for _, obj := range p.objects() {
			Eventually(func(g Gomega) { get(g, obj) }).Should(Succeed(), "%T %s", obj, obj.GetName())
		}
		d := p.deployment(NewWithT(GinkgoT()))
		Expect(d.Spec.Replicas).To(HaveValue(BeZero()))
		foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: "somebodys"}}
		Expect(k8s.Create(ctx, foreign)).To(Succeed())

		Expect(k8s.Delete(ctx, wrappers.MakeTarget(p.gate, "orders-db").Obj())).To(Succeed())
		for _, obj := range p.objects() {
			Eventually(gone(obj)).Should(BeTrue(), "%T %s", obj, obj.GetName())
		}
		Expect(gone(foreign)()).To(BeFalse())
	})

	It("keeps a private key of its authority in the root namespace alone", func() {
		p := newPlace().withTarget()
		Eventually(func(g Gomega) {
			ca := get(g, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: root, Name: "cardea-ca-" + p.gate}})
			served := get(g, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: v1alpha1.ProxyTLSName}})
			g.Expect(served.Data["ca.crt"]).To(Equal(ca.Data["tls.crt"]))
			g.Expect(served.Data["redact.key"]).To(HaveLen(32))
			_, err := recording.ParseKey(served.Data["recorder.crt"], served.Data["recorder.key"])
			g.Expect(err).NotTo(HaveOccurred())
			public := get(g, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: v1alpha1.ProxyTLSName}})
			g.Expect(public.Data["recording-ca.crt"]).To(Equal(string(ca.Data["tls.crt"])))
			for key, value := range served.Data {
				g.Expect(value).NotTo(Equal(ca.Data["tls.key"]), key)
			}
		}).Should(Succeed())
	})

	It("lets the proxy read the Secrets that consent, by name", func() {
		p := newPlace()
		Expect(k8s.Create(ctx, p.login(""))).To(Succeed())
		Expect(k8s.Create(ctx, wrappers.MakeTarget(p.gate, "orders-db").CA("ConfigMap", "orders-ca", "ca.crt").Obj())).To(Succeed())
		Eventually(func(g Gomega) { g.Expect(p.readable(g, "configmaps")).To(Equal([]string{"orders-ca"})) }).Should(Succeed())
		Expect(p.readable(NewWithT(GinkgoT()), "secrets")).To(BeEmpty())

		consent := func(target string) {
			patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%s}}}`, v1alpha1.LabelTarget, target)
			Expect(k8s.Patch(ctx, p.login(""), client.RawPatch("application/merge-patch+json", []byte(patch)))).To(Succeed())
		}
		consent(`"orders-db"`)
		Eventually(func(g Gomega) { g.Expect(p.readable(g, "secrets")).To(Equal([]string{"orders-login"})) }).Should(Succeed())
		consent(`"another-db"`)
		Eventually(func(g Gomega) { g.Expect(p.readable(g, "secrets")).To(BeEmpty()) }).Should(Succeed())
	})

	It("undoes what others change", func() {
		p := newPlace().withTarget()
		role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: v1alpha1.ProxyName}}
		Eventually(func(g Gomega) { get(g, role) }).Should(Succeed())
		role.Rules = append(role.Rules, rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"list"}})
		Expect(k8s.Update(ctx, role)).To(Succeed())
		Eventually(func(g Gomega) {
			for _, rule := range get(g, role).Rules {
				g.Expect(rule.Verbs).NotTo(Equal([]string{"list"}))
			}
		}).Should(Succeed())

		policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: v1alpha1.ProxyName}}
		Expect(k8s.Delete(ctx, policy)).To(Succeed())
		Eventually(func(g Gomega) { get(g, policy) }).Should(Succeed())
	})

	It("runs its proxy while there is a grant, a session or an unshipped recording, and rests after that", func() {
		p := newPlace().withTarget()
		replicas := func(g Gomega) int32 { return *p.deployment(g).Spec.Replicas }
		Eventually(func(g Gomega) { g.Expect(replicas(g)).To(BeZero()) }).Should(Succeed())
		grant := wrappers.MakeGrant(p.gate, "report").Obj()
		Expect(k8s.Create(ctx, grant)).To(Succeed())
		p.proxyUp()

		makePod(p.gate, "proxy-a", nil)
		session := wrappers.MakeSession(p.gate, "report-abcde", "proxy-a", clk.Now())
		Expect(k8s.Create(ctx, session)).To(Succeed())
		Expect(k8s.Patch(ctx, grant, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"desiredState":"Revoked"}}`)))).To(Succeed())
		expectReady(grant, metav1.ConditionTrue, v1alpha1.ReasonRevoked)
		Consistently(func(g Gomega) { g.Expect(replicas(g)).To(BeEquivalentTo(1)) }, idleTimeout+time.Second).Should(Succeed())

		ended := metav1.NewMicroTime(clk.Now())
		session.Status = v1alpha1.SessionStatus{EndedAt: &ended, Recording: v1alpha1.SessionRecording{State: v1alpha1.RecordingOpen}}
		Expect(k8s.Status().Update(ctx, session)).To(Succeed())
		Consistently(func(g Gomega) { g.Expect(replicas(g)).To(BeEquivalentTo(1)) }, idleTimeout+time.Second).Should(Succeed())

		session.Status.Recording.State = v1alpha1.RecordingComplete
		Expect(k8s.Status().Update(ctx, session)).To(Succeed())
		Eventually(func(g Gomega) { g.Expect(p.deployment(g).Annotations).To(HaveKey("access.cardea.dev/idle-since")) }).Should(Succeed())
		Eventually(func(g Gomega) { g.Expect(replicas(g)).To(BeZero()) }).Should(Succeed())

		Expect(k8s.Create(ctx, wrappers.MakeGrant(p.gate, "next").Obj())).To(Succeed())
		Eventually(func(g Gomega) { g.Expect(replicas(g)).To(BeEquivalentTo(1)) }).Should(Succeed())
	})

	It("is never the operator's own", func() {
		target := wrappers.MakeTarget(root, "orders-db").Obj()
		Expect(k8s.Create(ctx, target)).To(Succeed())
		DeferCleanup(func() { Expect(k8s.Delete(ctx, target)).To(Succeed()) })
		Eventually(func(g Gomega) {
			checkCondition(g, get(g, target).Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalid)
		}).Should(Succeed())
		Expect(gone(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: root, Name: v1alpha1.ProxyName}})()).To(BeTrue())
	})
})

func makePod(namespace, name string, owner *metav1.OwnerReference) *corev1.Pod {
	GinkgoHelper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app.kubernetes.io/name": v1alpha1.ProxyName}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}},
	}
	if owner != nil {
		pod.OwnerReferences = []metav1.OwnerReference{*owner}
	}
	Expect(k8s.Create(ctx, pod)).To(Succeed())
	return pod
}
