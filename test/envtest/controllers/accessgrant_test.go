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
	"github.com/cardea-dev/cardea/proxy/credentials"
	"github.com/cardea-dev/cardea/test/wrappers"
)

// checkCredential fails unless the Secret holds a credential that one of the grant's
// verifiers recognises, and returns the verifier's index.
func checkCredential(g Gomega, grant *v1alpha1.AccessGrant, s *corev1.Secret) int {
	password := string(s.Data["password"])
	scram, err := credentials.NewSCRAM(password, credentials.Salt(grant.UID), credentials.Iterations)
	g.Expect(err).NotTo(HaveOccurred())
	for i, v := range grant.Status.Verifiers {
		if v.SCRAMSHA256 == scram.String() {
			return i
		}
	}
	g.Expect(grant.Status.Verifiers).To(BeNil(), "no verifier recognises the Secret")
	return -1
}

var _ = Describe("An AccessGrant", func() {
	It("becomes active with a credential in the subject's namespace", func() {
		p := newPlace().withTarget()
		grant := wrappers.MakeGrant(p.gate, "report").For(p.shop, "agent").Lasting(time.Hour).Obj()
		Expect(k8s.Create(ctx, grant)).To(Succeed())
		expectReady(grant, metav1.ConditionUnknown, v1alpha1.ReasonProgressing)
		Eventually(func(g Gomega) { g.Expect(kstatus(g, get(g, grant))).To(Equal(status.InProgressStatus)) }).Should(Succeed())
		p.proxyUp()
		expectReady(grant, metav1.ConditionTrue, v1alpha1.ReasonActive)

		Eventually(func(g Gomega) {
			get(g, grant)
			g.Expect(kstatus(g, grant)).To(Equal(status.CurrentStatus))
			g.Expect(grant.Status.ExpiresAt.Sub(grant.Status.ApprovedAt.Time)).To(Equal(time.Hour))
			g.Expect(grant.Status.Verifiers).To(HaveLen(1))
			g.Expect(grant.Status.Verifiers[0].ExpiresAt.Equal(grant.Status.ExpiresAt)).To(BeTrue())
			s := p.secret(g, "cardea-report")
			g.Expect(checkCredential(g, grant, s)).To(Equal(0))
			g.Expect(string(s.Data["host"])).To(Equal("cardea-proxy." + p.gate + ".svc"))
			g.Expect(string(s.Data["username"])).To(Equal("report"))
			g.Expect(s.Data["ca.crt"]).NotTo(BeEmpty())
			g.Expect(s.OwnerReferences).To(BeEmpty())
		}).Should(Succeed())
	})

	It("waits for a Target that comes later, and for one that is shut", func() {
		p := newPlace()
		grant := wrappers.MakeGrant(p.gate, "early").For(p.shop, "agent").Obj()
		Expect(k8s.Create(ctx, grant)).To(Succeed())
		expectReady(grant, metav1.ConditionFalse, v1alpha1.ReasonTargetMissing)
		Expect(kstatus(NewWithT(GinkgoT()), grant)).To(Equal(status.InProgressStatus))
		Expect(k8s.Create(ctx, wrappers.MakeTarget(p.gate, "orders-db").Obj())).To(Succeed())
		p.proxyUp()
		expectReady(grant, metav1.ConditionFalse, v1alpha1.ReasonTargetNotReady)
		Expect(k8s.Create(ctx, p.login("orders-db"))).To(Succeed())
		expectReady(grant, metav1.ConditionTrue, v1alpha1.ReasonActive)
	})

	It("is delivered only into a namespace that asked for it, and taken back when it asks no more", func() {
		p := newPlace().withTarget()
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: p.shop}}
		Expect(k8s.Patch(ctx, ns, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"access.cardea.dev/accept-from":"another"}}}`)))).To(Succeed())
		grant := wrappers.MakeGrant(p.gate, "report").For(p.shop, "agent").Obj()
		Expect(k8s.Create(ctx, grant)).To(Succeed())
		expectReady(grant, metav1.ConditionFalse, v1alpha1.ReasonNamespaceRefuses)
		Expect(grant.Status.Verifiers).To(BeEmpty())
		var secrets corev1.SecretList
		Expect(k8s.List(ctx, &secrets, client.InNamespace(p.shop))).To(Succeed())
		Expect(secrets.Items).To(BeEmpty())

		accept := func(value string) {
			Expect(k8s.Patch(ctx, ns, client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"access.cardea.dev/accept-from":`+value+`}}}`)))).To(Succeed())
		}
		accept(`"` + p.gate + `"`)
		Eventually(func(g Gomega) { p.secret(g, "cardea-report") }).Should(Succeed())
		accept("null")
		Eventually(gone(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.shop, Name: "cardea-report"}})).Should(BeTrue())
		expectReady(grant, metav1.ConditionFalse, v1alpha1.ReasonNamespaceRefuses)
		Expect(grant.Status.Verifiers).To(BeEmpty())
	})

	It("never writes over a Secret that is not its own", func() {
		p := newPlace().withTarget()
		foreign := &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: p.shop, Name: "cardea-report"}, StringData: map[string]string{"password": "mine"},
		}
		Expect(k8s.Create(ctx, foreign)).To(Succeed())
		grant := wrappers.MakeGrant(p.gate, "report").For(p.shop, "agent").Obj()
		Expect(k8s.Create(ctx, grant)).To(Succeed())
		expectReady(grant, metav1.ConditionFalse, v1alpha1.ReasonSecretConflict)
		Expect(kstatus(NewWithT(GinkgoT()), grant)).To(Equal(status.FailedStatus))
		Expect(k8s.Delete(ctx, grant)).To(Succeed())
		Consistently(func(g Gomega) {
			g.Expect(string(p.secret(g, "cardea-report").Data["password"])).To(Equal("mine"))
		}, "500ms").Should(Succeed())
	})

	It("loses its credential when it is revoked, whatever else is wrong with it", func() {
		p := newPlace().withTarget()
		grant := wrappers.MakeGrant(p.gate, "report").For(p.shop, "agent").Obj()
		Expect(k8s.Create(ctx, grant)).To(Succeed())
		Eventually(func(g Gomega) { p.secret(g, "cardea-report") }).Should(Succeed())
		Expect(k8s.Delete(ctx, wrappers.MakeTarget(p.gate, "orders-db").Obj())).To(Succeed())
		expectReady(grant, metav1.ConditionFalse, v1alpha1.ReasonTargetMissing)
		Expect(k8s.Patch(ctx, grant, client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"desiredState":"Revoked"}}`)))).To(Succeed())
		expectReady(grant, metav1.ConditionTrue, v1alpha1.ReasonRevoked)
		Expect(kstatus(NewWithT(GinkgoT()), grant)).To(Equal(status.CurrentStatus))
		Expect(grant.Status.Verifiers).To(BeEmpty())
		Expect(grant.Status.SecretRef).To(BeNil())
		Eventually(gone(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.shop, Name: "cardea-report"}})).Should(BeTrue())
	})

	It("expires by itself and is deleted only if it says so", func() {
		p := newPlace().withTarget()
		kept := wrappers.MakeGrant(p.gate, "kept").For(p.shop, "agent").Lasting(2 * time.Second).Obj()
		buried := wrappers.MakeGrant(p.gate, "buried").For(p.shop, "agent").Lasting(2 * time.Second).TTL(time.Second).Obj()
		Expect(k8s.Create(ctx, kept)).To(Succeed())
		Expect(k8s.Create(ctx, buried)).To(Succeed())
		expectReady(kept, metav1.ConditionTrue, v1alpha1.ReasonExpired)
		Expect(kstatus(NewWithT(GinkgoT()), kept)).To(Equal(status.CurrentStatus))
		Expect(kept.Status.Verifiers).To(BeEmpty())
		Eventually(gone(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.shop, Name: "cardea-kept"}})).Should(BeTrue())
		Eventually(gone(buried)).Should(BeTrue())
		Expect(gone(kept)()).To(BeFalse())
	})

	It("gets nothing when it comes with an end in the past", func() {
		p := newPlace().withTarget()
		grant := wrappers.MakeGrant(p.gate, "late").For(p.shop, "agent").Until(clk.Now().Add(-time.Minute)).Obj()
		Expect(k8s.Create(ctx, grant)).To(Succeed())
		expectReady(grant, metav1.ConditionTrue, v1alpha1.ReasonExpired)
		Expect(grant.Status.Verifiers).To(BeEmpty())
	})

	It("has credential and proxy a little before it starts, and nothing before that", func() {
		p := newPlace().withTarget()
		start := clk.Now().Add(time.Hour)
		grant := wrappers.MakeGrant(p.gate, "later").For(p.shop, "agent").From(start).Lasting(time.Hour).Obj()
		Expect(k8s.Create(ctx, grant)).To(Succeed())
		expectReady(grant, metav1.ConditionTrue, v1alpha1.ReasonScheduled)
		Expect(grant.Status.Verifiers).To(BeEmpty())
		Eventually(func(g Gomega) { g.Expect(p.deployment(g).Spec.Replicas).To(HaveValue(BeZero())) }).Should(Succeed())

		clk.advance(time.Until(start) - clk.Since(time.Now()) - time.Minute)
		touch(grant)
		Eventually(func(g Gomega) {
			get(g, grant)
			g.Expect(grant.Status.Verifiers).To(HaveLen(1))
			g.Expect(grant.Status.Verifiers[0].NotBefore.Unix()).To(Equal(start.Unix()))
			p.secret(g, "cardea-later")
		}).Should(Succeed())
	})

	It("replaces a credential at once when its Secret is deleted or edited", func() {
		p := newPlace().withTarget()
		grant := wrappers.MakeGrant(p.gate, "report").For(p.shop, "agent").Obj()
		Expect(k8s.Create(ctx, grant)).To(Succeed())
		var first *corev1.Secret
		Eventually(func(g Gomega) {
			first = p.secret(g, "cardea-report")
			g.Expect(checkCredential(g, get(g, grant), first)).To(Equal(0))
		}).Should(Succeed())
		Expect(k8s.Delete(ctx, first)).To(Succeed())
		var second *corev1.Secret
		Eventually(func(g Gomega) {
			second = p.secret(g, "cardea-report")
			g.Expect(second.Data["password"]).NotTo(Equal(first.Data["password"]))
			g.Expect(checkCredential(g, get(g, grant), second)).To(Equal(0))
			g.Expect(grant.Status.Verifiers).To(HaveLen(1), "the credential in the deleted Secret is not good any more")
		}).Should(Succeed())

		second.Data["password"] = []byte("chosen-by-somebody")
		second.Data["extra"] = []byte("x")
		Expect(k8s.Update(ctx, second)).To(Succeed())
		Eventually(func(g Gomega) {
			third := p.secret(g, "cardea-report")
			g.Expect(string(third.Data["password"])).To(HavePrefix(credentials.PasswordPrefix))
			g.Expect(third.Data).NotTo(HaveKey("extra"))
			g.Expect(checkCredential(g, get(g, grant), third)).To(Equal(0))
		}).Should(Succeed())
	})

	It("rotates its credential and keeps the one before for the overlap", func() {
		p := newPlace().withTarget()
		grant := wrappers.MakeGrant(p.gate, "long").For(p.shop, "agent").Lasting(72 * time.Hour).Obj()
		Expect(k8s.Create(ctx, grant)).To(Succeed())
		var before *corev1.Secret
		Eventually(func(g Gomega) {
			before = p.secret(g, "cardea-long")
			g.Expect(checkCredential(g, get(g, grant), before)).To(Equal(0))
			v := grant.Status.Verifiers[0]
			g.Expect(v.ExpiresAt.Sub(v.NotBefore.Time)).To(Equal(rotation + overlap))
		}).Should(Succeed())
		clk.advance(rotation)
		touch(grant)
		Eventually(func(g Gomega) {
			after := p.secret(g, "cardea-long")
			g.Expect(after.Data["password"]).NotTo(Equal(before.Data["password"]))
			g.Expect(checkCredential(g, get(g, grant), after)).To(Equal(0))
			g.Expect(grant.Status.Verifiers).To(HaveLen(2))
			g.Expect(checkCredential(g, grant, before)).To(Equal(1))
		}).Should(Succeed())
		clk.advance(overlap + time.Minute)
		touch(grant)
		Eventually(func(g Gomega) { g.Expect(get(g, grant).Status.Verifiers).To(HaveLen(1)) }).Should(Succeed())
	})

	It("leaves no Secret behind when it is deleted, and a new one of its name starts anew", func() {
		p := newPlace().withTarget()
		grant := wrappers.MakeGrant(p.gate, "report").For(p.shop, "agent").Obj()
		Expect(k8s.Create(ctx, grant)).To(Succeed())
		var first *corev1.Secret
		Eventually(func(g Gomega) { first = p.secret(g, "cardea-report") }).Should(Succeed())
		Expect(k8s.Delete(ctx, grant)).To(Succeed())
		again := wrappers.MakeGrant(p.gate, "report").For(p.shop, "agent").Obj()
		Expect(k8s.Create(ctx, again)).To(Succeed())
		Eventually(func(g Gomega) {
			s := p.secret(g, "cardea-report")
			g.Expect(s.UID).NotTo(Equal(first.UID))
			g.Expect(checkCredential(g, get(g, again), s)).To(Equal(0))
		}).Should(Succeed())
		Expect(k8s.Delete(ctx, again)).To(Succeed())
		Eventually(gone(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.shop, Name: "cardea-report"}})).Should(BeTrue())
	})

	DescribeTable("is invalid", func(change func(place, *wrappers.Grant)) {
		p := newPlace().withTarget()
		w := wrappers.MakeGrant(p.gate, "wrong").For(p.shop, "agent")
		change(p, w)
		grant := w.Obj()
		Expect(k8s.Create(ctx, grant)).To(Succeed())
		DeferCleanup(func() { Expect(k8s.Delete(ctx, grant)).To(Succeed()) })
		expectReady(grant, metav1.ConditionFalse, v1alpha1.ReasonInvalid)
		Expect(kstatus(NewWithT(GinkgoT()), grant)).To(Equal(status.FailedStatus))
		Expect(grant.Status.Verifiers).To(BeEmpty())
	},
		Entry("without permissions", func(_ place, w *wrappers.Grant) { w.WithoutPermissions() }),
		Entry("with the name of the proxy's own Secret", func(_ place, w *wrappers.Grant) { w.ForUser("ana").SecretName(v1alpha1.ProxyTLSName) }),
		Entry("for an account of the operator's namespace", func(_ place, w *wrappers.Grant) { w.For(root, "cardea-operator") }),
		Entry("in the operator's namespace", func(_ place, w *wrappers.Grant) { *w = *wrappers.MakeGrant(root, "wrong") }),
	)
})
