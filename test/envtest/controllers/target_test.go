package controllers_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/controllers/authority"
	"github.com/cardea-dev/cardea/test/wrappers"
)

func expectTarget(target *v1alpha1.Target, kind string, want metav1.ConditionStatus, reason string) {
	GinkgoHelper()
	Eventually(func(g Gomega) { checkCondition(g, get(g, target).Status.Conditions, kind, want, reason) }).Should(Succeed())
}

var _ = Describe("A Target", func() {
	const ready, accepted = v1alpha1.ConditionReady, v1alpha1.ConditionAccepted

	It("waits for its login and for the consent of the login's owner", func() {
		p := newPlace()
		target := wrappers.MakeTarget(p.gate, "orders-db").Obj()
		Expect(k8s.Create(ctx, target)).To(Succeed())
		expectTarget(target, ready, metav1.ConditionFalse, v1alpha1.ReasonReferenceMissing)
		Expect(k8s.Create(ctx, p.login("another-db"))).To(Succeed())
		expectTarget(target, ready, metav1.ConditionFalse, v1alpha1.ReasonConsentMissing)
		Expect(k8s.Patch(ctx, p.login(""), client.RawPatch("application/merge-patch+json",
			[]byte(`{"metadata":{"labels":{"access.cardea.dev/target":"orders-db"}}}`)))).To(Succeed())
		expectTarget(target, ready, metav1.ConditionTrue, v1alpha1.ReasonReady)
		expectTarget(target, v1alpha1.ConditionGateClean, metav1.ConditionTrue, v1alpha1.ReasonReady)
		Expect(target.Status.ObservedGeneration).To(Equal(target.Generation))
	})

	It("refuses a login of another type", func() {
		p := newPlace()
		Expect(k8s.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
			Namespace: p.gate, Name: "orders-login", Labels: map[string]string{v1alpha1.LabelTarget: "orders-db"},
		}})).To(Succeed())
		target := wrappers.MakeTarget(p.gate, "orders-db").Obj()
		Expect(k8s.Create(ctx, target)).To(Succeed())
		expectTarget(target, ready, metav1.ConditionFalse, v1alpha1.ReasonInvalid)
		expectTarget(target, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonInvalid)
	})

	It("checks the authorities of its server without quoting them", func() {
		p := newPlace()
		Expect(k8s.Create(ctx, p.login("orders-db"))).To(Succeed())
		target := wrappers.MakeTarget(p.gate, "orders-db").CA("ConfigMap", "orders-ca", "ca.crt").Obj()
		Expect(k8s.Create(ctx, target)).To(Succeed())
		expectTarget(target, ready, metav1.ConditionFalse, v1alpha1.ReasonReferenceMissing)
		cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: "orders-ca"}, Data: map[string]string{"ca.crt": "hunter2"}}
		Expect(k8s.Create(ctx, cm)).To(Succeed())
		expectTarget(target, ready, metav1.ConditionFalse, v1alpha1.ReasonInvalid)
		for _, c := range target.Status.Conditions {
			Expect(c.Message).NotTo(ContainSubstring("hunter2"))
		}
		keys, err := authority.New("test", time.Now())
		Expect(err).NotTo(HaveOccurred())
		cm.Data["ca.crt"] = string(keys.Bundle())
		Expect(k8s.Update(ctx, cm)).To(Succeed())
		expectTarget(target, ready, metav1.ConditionTrue, v1alpha1.ReasonReady)
	})

	It("reads no Secret for its authorities without consent", func() {
		p := newPlace()
		Expect(k8s.Create(ctx, p.login("orders-db"))).To(Succeed())
		Expect(k8s.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: "foreign"}, StringData: map[string]string{"k": "v"}})).To(Succeed())
		target := wrappers.MakeTarget(p.gate, "orders-db").CA("Secret", "foreign", "k").Obj()
		Expect(k8s.Create(ctx, target)).To(Succeed())
		expectTarget(target, ready, metav1.ConditionFalse, v1alpha1.ReasonConsentMissing)
	})

	It("waits for required rules and is shut by one in the root namespace that does not compile", func() {
		p := newPlace()
		Expect(k8s.Create(ctx, p.login("orders-db"))).To(Succeed())
		target := wrappers.MakeTarget(p.gate, "orders-db").Label("place", p.gate).Requires(v1alpha1.RuleKindMasking).Obj()
		Expect(k8s.Create(ctx, target)).To(Succeed())
		expectTarget(target, ready, metav1.ConditionFalse, v1alpha1.ReasonRuleMissing)
		selector := metav1.LabelSelector{MatchLabels: map[string]string{"place": p.gate}}
		rule := wrappers.MakeMaskingRule(p.gate, "pii", selector)
		Expect(k8s.Create(ctx, rule)).To(Succeed())
		expectTarget(target, ready, metav1.ConditionTrue, v1alpha1.ReasonReady)
		Eventually(func(g Gomega) {
			checkCondition(g, get(g, rule).Status.Conditions, ready, metav1.ConditionTrue, v1alpha1.ReasonReady)
			g.Expect(rule.Status.Targets).To(BeEquivalentTo(1))
		}).Should(Succeed())

		bad := wrappers.MakeCommandRule(root, "bad", metav1.LabelSelector{MatchLabels: map[string]string{"place": "no label value!"}})
		Expect(k8s.Create(ctx, bad)).To(Succeed())
		Eventually(func(g Gomega) {
			checkCondition(g, get(g, bad).Status.Conditions, ready, metav1.ConditionFalse, v1alpha1.ReasonRuleInvalid)
			checkCondition(g, bad.Status.Conditions, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonRuleInvalid)
		}).Should(Succeed())
		expectTarget(target, ready, metav1.ConditionFalse, v1alpha1.ReasonRuleInvalid)
		Expect(k8s.Delete(ctx, bad)).To(Succeed())
		expectTarget(target, ready, metav1.ConditionTrue, v1alpha1.ReasonReady)
	})

	It("tells what the proxy found without touching it", func() {
		p := newPlace().withTarget()
		target := wrappers.MakeTarget(p.gate, "orders-db").Obj()
		expectTarget(target, ready, metav1.ConditionTrue, v1alpha1.ReasonReady)
		report := func(status, reason, message string) {
			patch := `{"apiVersion":"access.cardea.dev/v1alpha1","kind":"Target","status":{"conditions":[{"type":"UpstreamReachable","status":"` +
				status + `","reason":"` + reason + `","message":"` + message + `","lastTransitionTime":"2026-01-01T00:00:00Z"}]}}`
			Expect(k8s.Status().Patch(ctx, target, client.RawPatch("application/apply-patch+yaml", []byte(patch)),
				client.FieldOwner("cardea-proxy"), client.ForceOwnership)).To(Succeed())
		}
		report("False", v1alpha1.ReasonUnreachable, "no route to host")
		expectTarget(target, ready, metav1.ConditionFalse, v1alpha1.ReasonUnreachable)
		expectTarget(target, accepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
		for _, m := range target.ManagedFields {
			if m.Manager != "cardea-proxy" {
				Expect(m.FieldsV1.GetRawString()).NotTo(ContainSubstring("UpstreamReachable"), m.Manager)
			}
		}
		report("True", v1alpha1.ReasonReachable, "")
		expectTarget(target, ready, metav1.ConditionTrue, v1alpha1.ReasonReady)
	})

	It("tells of pods in its namespace that are not the proxy's, whatever their labels", func() {
		p := newPlace().withTarget()
		var d *appsv1.Deployment
		Eventually(func(g Gomega) { d = p.deployment(g) }).Should(Succeed())
		owner := func(kind, name string, obj client.Object) *metav1.OwnerReference {
			yes := true
			return &metav1.OwnerReference{APIVersion: "apps/v1", Kind: kind, Name: name, UID: obj.GetUID(), Controller: &yes}
		}
		labels := map[string]string{"app.kubernetes.io/name": v1alpha1.ProxyName}
		set := &appsv1.ReplicaSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: "cardea-proxy-1", OwnerReferences: []metav1.OwnerReference{*owner("Deployment", d.Name, d)}},
			Spec: appsv1.ReplicaSetSpec{
				Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: d.Spec.Template.Spec},
			},
		}
		Expect(k8s.Create(ctx, set)).To(Succeed())
		makePod(p.gate, "cardea-proxy-1-a", owner("ReplicaSet", set.Name, set))
		target := wrappers.MakeTarget(p.gate, "orders-db").Obj()
		reconsider := func(g Gomega) {
			get(g, target)
			if target.Labels == nil {
				target.Labels = map[string]string{}
			}
			target.Labels["touched"] = target.ResourceVersion
			g.Expect(k8s.Update(ctx, target)).To(Succeed())
		}
		Eventually(reconsider).Should(Succeed())
		expectTarget(target, v1alpha1.ConditionGateClean, metav1.ConditionTrue, v1alpha1.ReasonReady)
		makePod(p.gate, "cardea-proxy-1-b", nil)
		Eventually(func(g Gomega) {
			reconsider(g)
			checkCondition(g, get(g, target).Status.Conditions, v1alpha1.ConditionGateClean, metav1.ConditionFalse, v1alpha1.ReasonForeignPods)
		}).Should(Succeed())
		for _, c := range target.Status.Conditions {
			if c.Type == v1alpha1.ConditionGateClean {
				Expect(c.Message).To(ContainSubstring("cardea-proxy-1-b"))
				Expect(c.Message).NotTo(ContainSubstring("cardea-proxy-1-a"))
			}
		}
	})
})
