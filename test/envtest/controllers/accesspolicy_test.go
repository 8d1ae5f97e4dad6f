package controllers_test

import (
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/wrappers"
)

var _ = Describe("An AccessPolicy", func() {
	It("says whether it compiles and how many Targets it selects, and shuts them if not", func() {
		p := newPlace().withTarget()
		policy := wrappers.MakePolicy(p.gate, "prod").Naming(p.shop, "*").Obj()
		Expect(k8s.Create(ctx, policy)).To(Succeed())
		expectCondition(policy, &policy.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
		Expect(policy.Status.Targets).To(BeEquivalentTo(1))
		target := wrappers.MakeTarget(p.gate, "orders-db").Obj()
		expectCondition(target, &target.Status.Conditions, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
		change(policy, `{"spec":{"requires":{"reasonPattern":"("}}}`)
		expectCondition(policy, &policy.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRuleInvalid)
		Expect(kstatus(NewWithT(GinkgoT()), policy)).To(Equal(status.FailedStatus))
		expectCondition(target, &target.Status.Conditions, v1alpha1.ConditionAccepted, metav1.ConditionFalse, v1alpha1.ReasonRuleInvalid)
		Expect(k8s.Delete(ctx, policy)).To(Succeed())
		expectCondition(target, &target.Status.Conditions, v1alpha1.ConditionAccepted, metav1.ConditionTrue, v1alpha1.ReasonAccepted)
	})

	It("refuses a grant with a sentence for everything that does not fit", func() {
		p := newPlace().withTarget()
		Expect(k8s.Create(ctx, wrappers.MakePolicy(p.gate, "prod").Naming(p.shop, "agent").AtMost(time.Hour).Obj())).To(Succeed())
		long := wrappers.MakeGrant(p.gate, "long").For(p.shop, "agent").Lasting(2 * time.Hour).Obj()
		Expect(k8s.Create(ctx, long)).To(Succeed())
		expectReady(long, metav1.ConditionFalse, v1alpha1.ReasonPolicyViolated)
		Expect(kstatus(NewWithT(GinkgoT()), long)).To(Equal(status.FailedStatus))
		Expect(long.Status.Conditions).To(ContainElement(And(HaveField("Type", v1alpha1.ConditionAccepted),
			HaveField("Message", ContainSubstring("permits at most 1h, and spec.duration is 2h")))))
		other := wrappers.MakeGrant(p.gate, "other").For(p.shop, "bot").Obj()
		Expect(k8s.Create(ctx, other)).To(Succeed())
		expectReady(other, metav1.ConditionFalse, v1alpha1.ReasonPolicyViolated)
		change(long, `{"spec":{"duration":"1h"}}`)
		p.proxyUp()
		expectReady(long, metav1.ConditionTrue, v1alpha1.ReasonActive)
	})

	It("ends a running grant when it is tightened, and gives it back when it is loosened", func() {
		p := newPlace().withTarget()
		policy := wrappers.MakePolicy(p.gate, "prod").Naming(p.shop, "agent").AtMost(time.Hour).Obj()
		Expect(k8s.Create(ctx, policy)).To(Succeed())
		grant := wrappers.MakeGrant(p.gate, "report").For(p.shop, "agent").Obj()
		Expect(k8s.Create(ctx, grant)).To(Succeed())
		p.proxyUp()
		expectReady(grant, metav1.ConditionTrue, v1alpha1.ReasonActive)
		change(policy, `{"spec":{"limits":{"maxDuration":"30m"}}}`)
		expectReady(grant, metav1.ConditionFalse, v1alpha1.ReasonPolicyViolated)
		Expect(grant.Status.Verifiers).To(BeEmpty())
		Eventually(gone(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.shop, Name: "cardea-report"}})).Should(BeTrue())
		change(policy, `{"spec":{"limits":{"maxDuration":"2h"}}}`)
		expectReady(grant, metav1.ConditionTrue, v1alpha1.ReasonActive)
	})

	It("of the root namespace holds for every gate, whatever a gate's own says", func() {
		p := newPlace().withTarget()
		Expect(k8s.Create(ctx, wrappers.MakePolicy(p.gate, "loose").Naming("*", "*").Obj())).To(Succeed())
		grant := wrappers.MakeGrant(p.gate, "report").For(p.shop, "agent").Obj()
		Expect(k8s.Create(ctx, grant)).To(Succeed())
		p.proxyUp()
		expectReady(grant, metav1.ConditionTrue, v1alpha1.ReasonActive)
		target := wrappers.MakeTarget(p.gate, "orders-db").Obj()
		Expect(k8s.Patch(ctx, target, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"only":"`+p.gate+`"}}}`)))).To(Succeed())
		strict := wrappers.MakePolicy(root, "strict-"+p.gate).Selecting("only", p.gate).NamingUsers("ana").Obj()
		Expect(k8s.Create(ctx, strict)).To(Succeed())
		DeferCleanup(func() { Expect(client.IgnoreNotFound(k8s.Delete(ctx, strict))).To(Succeed()) })
		expectReady(grant, metav1.ConditionFalse, v1alpha1.ReasonPolicyViolated)
		// A Target that loses the label is not selected any more.
		Expect(k8s.Patch(ctx, target, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"only":null}}}`)))).To(Succeed())
		expectReady(grant, metav1.ConditionTrue, v1alpha1.ReasonActive)
	})
})

// change patches an object as a person does.
func change(obj client.Object, patch string) {
	GinkgoHelper()
	Expect(k8s.Patch(ctx, obj, client.RawPatch("application/merge-patch+json", []byte(patch)))).To(Succeed())
}

// expectCondition waits until a condition of an object has the status and reason.
func expectCondition(obj client.Object, conditions *[]metav1.Condition, kind string, want metav1.ConditionStatus, reason string) {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		get(g, obj)
		checkCondition(g, *conditions, kind, want, reason)
	}).Should(Succeed())
}
