package grants_test

import (
	"sync"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/envtest/api/apiserver"
	"github.com/cardea-dev/cardea/test/wrappers"
)

func dba(w *wrappers.Policy)     { w.ApprovedBy(1, "dba") }
func twoDBAs(w *wrappers.Policy) { w.ApprovedBy(2, "dba") }

var _ = Describe("Approval of a grant", func() {
	It("waits, shows what is asked, and starts the clock when it is approved", func() {
		p := newPlace()
		p.policy(dba)
		grant, request := p.ask(func(w *wrappers.Grant) { w.Lasting(30 * time.Minute).Because("OPS-1423") })
		Expect(request.Spec.Grant.Text).To(And(ContainSubstring("reason: OPS-1423"), ContainSubstring("name: agent"), ContainSubstring("duration: 30m"), ContainSubstring("access: ReadOnly")))
		Expect(request.Spec.GrantCreator).To(Equal("alice"))
		Expect(grant.Status.ApprovedAt).To(BeNil())
		Expect(grant.Status.ExpiresAt).To(BeNil())
		clk.advance(10 * time.Minute)
		Expect(decide(dora, request, v1alpha1.DecisionApproved)).To(Succeed())
		becomes(grant, "True Approved")
		Eventually(func(g Gomega) {
			get(g, grant)
			g.Expect(grant.Status.Verifiers).To(HaveLen(1))
			g.Expect(grant.Status.ExpiresAt.Sub(grant.Status.ApprovedAt.Time)).To(Equal(30 * time.Minute))
			g.Expect(grant.Status.ApprovedAt.Sub(grant.CreationTimestamp.Time)).To(BeNumerically(">=", 10*time.Minute))
			g.Expect(grant.Status.Approval.Decisions).To(HaveLen(1))
		}).Should(Succeed())
	})

	It("needs all quorums, of one policy and of several, and one denial decides", func() {
		p := newPlace()
		p.policy(func(w *wrappers.Policy) { w.ApprovedBy(1, "dba") })
		second := wrappers.MakePolicy(root, "strict-"+p.gate).Selecting("gate", p.gate).ApprovedBy(1, "security").Obj()
		Expect(admin.Create(ctx, second)).To(Succeed())
		DeferCleanup(func() { Expect(admin.Delete(ctx, second)).To(Succeed()) })
		grant, request := p.ask(nil)
		Expect(request.Spec.Grant.Needs).To(HaveLen(2))
		Expect(decide(dora, request, v1alpha1.DecisionApproved)).To(Succeed())
		Expect(decide(dan, request, v1alpha1.DecisionApproved)).To(Succeed())
		stays(grant, "Unknown Pending")
		Expect(decide(sue, request, v1alpha1.DecisionApproved)).To(Succeed())
		becomes(grant, "True Approved")

		denied := wrappers.MakeGrant(p.gate, "denied").For(p.shop, "agent").CreatedBy("alice").Obj()
		Expect(as(alice).Create(ctx, denied)).To(Succeed())
		request = pending(denied)
		Expect(decide(dora, request, v1alpha1.DecisionApproved)).To(Succeed())
		Expect(decide(sue, request, v1alpha1.DecisionDenied)).To(Succeed())
		becomes(denied, "False Denied")
		Expect(condition(denied, v1alpha1.ConditionReady)).To(Equal("False Denied"))
		Expect(condition(denied, v1alpha1.ConditionStalled)).To(Equal("True Denied"))
		Expect(denied.Status.Conditions).To(ContainElement(HaveField("Message", ContainSubstring("sue denied request "+request.Name+": because"))))
	})

	It("lapses unanswered, and is withdrawn with its grant", func() {
		p := newPlace()
		p.policy(func(w *wrappers.Policy) { w.ApprovedBy(1, "dba").Within(time.Minute) })
		grant, request := p.ask(nil)
		revoked := wrappers.MakeGrant(p.gate, "revoked").For(p.shop, "agent").CreatedBy("alice").Obj()
		gone := wrappers.MakeGrant(p.gate, "gone").For(p.shop, "agent").CreatedBy("alice").Obj()
		for _, g := range []*v1alpha1.AccessGrant{revoked, gone} {
			Expect(as(alice).Create(ctx, g)).To(Succeed())
		}
		ofRevoked, ofGone := pending(revoked), pending(gone)
		Expect(change(alice, revoked, `{"spec":{"desiredState":"Revoked"}}`)).To(Succeed())
		Expect(as(alice).Delete(ctx, gone)).To(Succeed())
		for _, r := range []*v1alpha1.ApprovalRequest{ofRevoked, ofGone} {
			Eventually(func(g Gomega) { g.Expect(get(g, r).Status.WithdrawnAt).NotTo(BeNil()) }).Should(Succeed())
			Expect(decide(dora, r, v1alpha1.DecisionApproved)).To(MatchError(ContainSubstring("takes no more decisions")))
		}
		clk.advance(2 * time.Minute)
		becomes(grant, "False Unanswered")
		Expect(get(NewWithT(GinkgoT()), request).Status.Decisions).To(BeEmpty())
		stays(grant, "False Unanswered")
	})

	It("ends when a policy wants more, and holds again when it wants that no longer", func() {
		p := newPlace()
		policy := p.policy(dba)
		grant, request := p.ask(nil)
		Expect(decide(dora, request, v1alpha1.DecisionApproved)).To(Succeed())
		becomes(grant, "True Approved")
		approvedAt := grant.Status.ApprovedAt.DeepCopy()
		Expect(change(apiserver.User{Name: "editor"}, policy, `{"spec":{"approvals":{"allOf":[{"required":2,"approvers":[{"kind":"Group","name":"dba"}]}]}}}`)).To(Succeed())
		again := pending(grant)
		Expect(again.Name).NotTo(Equal(request.Name))
		Expect(decide(dan, again, v1alpha1.DecisionApproved)).To(Succeed())
		stays(grant, "Unknown Pending") // what dora approved was another question
		Expect(decide(dora, again, v1alpha1.DecisionApproved)).To(Succeed())
		becomes(grant, "True Approved")
		Expect(grant.Status.ApprovedAt.Equal(approvedAt)).To(BeTrue(), "the clock started anew")
	})
})

var _ = Describe("A policy that changes while a grant waits", func() {
	It("is asked anew each time, and what was withdrawn is never good again", func() {
		p := newPlace()
		policy := p.policy(dba)
		grant, first := p.ask(nil)
		editor := apiserver.User{Name: "editor"}
		two := `{"spec":{"approvals":{"allOf":[{"required":2,"approvers":[{"kind":"Group","name":"dba"}]}]}}}`
		one := `{"spec":{"approvals":{"allOf":[{"required":1,"approvers":[{"kind":"Group","name":"dba"}]}]}}}`
		Expect(change(editor, policy, two)).To(Succeed())
		second := another(grant, first)
		Expect(change(editor, policy, one)).To(Succeed())
		third := another(grant, second)
		Expect(third.Name).NotTo(Equal(first.Name))
		for _, old := range []*v1alpha1.ApprovalRequest{first, second} {
			Eventually(func(g Gomega) { g.Expect(get(g, old).Status.WithdrawnAt).NotTo(BeNil()) }).Should(Succeed())
			Expect(decide(dora, old, v1alpha1.DecisionApproved)).To(MatchError(ContainSubstring("takes no more decisions")))
		}
		stays(grant, "Unknown Pending")
		Expect(decide(dora, third, v1alpha1.DecisionApproved)).To(Succeed())
		becomes(grant, "True Approved")
	})

	It("lets the grant begin if it wants no approval any more", func() {
		p := newPlace()
		policy := p.policy(dba)
		grant, request := p.ask(nil)
		Expect(change(apiserver.User{Name: "editor"}, policy, `{"spec":{"approvals":null}}`)).To(Succeed())
		becomes(grant, "True Approved")
		Expect(grant.Status.Approval).To(BeNil())
		Eventually(func(g Gomega) { g.Expect(get(g, request).Status.WithdrawnAt).NotTo(BeNil()) }).Should(Succeed())
	})
})

// another waits until a grant waits for another request than before.
func another(grant *v1alpha1.AccessGrant, before *v1alpha1.ApprovalRequest) *v1alpha1.ApprovalRequest {
	GinkgoHelper()
	Eventually(func(g Gomega) {
		g.Expect(get(g, grant).Status.Approval).To(HaveField("Request", Not(Equal(before.Name))))
	}).Should(Succeed())
	return pending(grant)
}

// Each tries to get a grant through without the approval of somebody else.
var _ = Describe("The approval of a grant withstands", func() {
	It("its creator, its subject, the product's own users and who is not named", func() {
		p := newPlace()
		p.policy(dba)
		grant, request := p.ask(func(w *wrappers.Grant) { w.ForUser("una") })
		for name, tt := range map[string]struct {
			user apiserver.User
			want string
		}{
			"the creator":   {alice, "its creator never approve"},
			"the subject":   {apiserver.User{Name: "una", Groups: []string{"dba"}}, "the grant's subject and its creator never approve"},
			"a developer":   {eve, "you are not among spec.approvers"},
			"the operator":  {operator, "the operator and the proxy decide nothing"},
			"the proxy":     {apiserver.User{Name: apiserver.Proxy(p.gate)}, "decide nothing"},
			"the product":   {apiserver.User{Name: "cardea:grant:x", Groups: []string{"dba"}}, "users of the product"},
			"an account":    {apiserver.User{Name: "system:serviceaccount:" + p.shop + ":second", Groups: []string{"dba"}}, "a ServiceAccount decides only where spec.approvers names it"},
			"administrator": {apiserver.User{Name: "root", Groups: []string{"system:masters"}}, "you are not among spec.approvers"},
		} {
			By(name)
			Expect(decide(tt.user, request, v1alpha1.DecisionApproved)).To(MatchError(ContainSubstring(tt.want)), name)
		}
		stays(grant, "Unknown Pending")
	})

	It("decisions in the name of others, and groups that are not one's own", func() {
		p := newPlace()
		p.policy(dba)
		grant, request := p.ask(nil)
		Expect(decide(alice, request, v1alpha1.DecisionApproved, func(d *v1alpha1.ApprovalDecision) { d.Approver = "dora" })).
			To(MatchError(ContainSubstring("must be your own user name")))
		Expect(decide(eve, request, v1alpha1.DecisionApproved, func(d *v1alpha1.ApprovalDecision) { d.Groups = []string{"dba", authenticated} })).
			To(MatchError(ContainSubstring("must be exactly your own groups")))
		stays(grant, "Unknown Pending")
	})

	It("the first half of two approvals, twice", func() {
		p := newPlace()
		p.policy(twoDBAs)
		grant, request := p.ask(nil)
		Expect(decide(dora, request, v1alpha1.DecisionApproved)).To(Succeed())
		Expect(decide(dora, request, v1alpha1.DecisionApproved)).NotTo(Succeed())
		stays(grant, "Unknown Pending")
	})

	It("a grant that somebody else is said to have made, or nobody", func() {
		p := newPlace()
		p.policy(dba)
		for _, creator := range []string{"bob", ""} {
			grant := wrappers.MakeGrant(p.gate, "forged").For(p.shop, "agent").CreatedBy(creator).Obj()
			Expect(apierrors.IsForbidden(as(alice).Create(ctx, grant)) || apierrors.IsInvalid(as(alice).Create(ctx, grant))).To(BeTrue())
		}
		grant, request := p.ask(nil)
		Expect(change(alice, grant, `{"metadata":{"annotations":{"access.cardea.dev/created-by":"bob"}}}`)).To(MatchError(ContainSubstring("cannot be changed")))
		Expect(decide(alice, request, v1alpha1.DecisionApproved)).NotTo(Succeed())
	})

	It("a status that others write", func() {
		p := newPlace()
		p.policy(dba)
		grant, request := p.ask(nil)
		forged := grant.DeepCopy()
		forged.Status.Approval.Outcome = v1alpha1.ApprovalApproved
		for _, u := range []apiserver.User{alice, dora, {Name: "root", Groups: []string{"system:masters"}}, {Name: apiserver.Proxy(p.gate)}} {
			Expect(as(u).Status().Update(ctx, forged.DeepCopy())).To(MatchError(ContainSubstring("forbidden")))
		}
		withdrawn := request.DeepCopy()
		withdrawn.Status.WithdrawnAt = &request.CreationTimestamp
		Expect(as(apiserver.User{Name: apiserver.Proxy(p.gate)}).Status().Update(ctx, withdrawn)).To(MatchError(ContainSubstring("about a grant, only the operator")))
		stays(grant, "Unknown Pending")
	})

	It("a request that others make, or change", func() {
		p := newPlace()
		p.policy(dba)
		grant, request := p.ask(nil)
		for _, u := range []apiserver.User{alice, dora, {Name: apiserver.Proxy(p.gate)}} {
			made := &v1alpha1.ApprovalRequest{Spec: *request.Spec.DeepCopy()}
			made.Namespace, made.Name = p.gate, "easier"
			made.Spec.Approvers = []v1alpha1.Subject{{Kind: v1alpha1.SubjectUser, Name: "eve"}}
			Expect(as(u).Create(ctx, made)).To(MatchError(ContainSubstring("forbidden")))
			Expect(change(u, request.DeepCopy(), `{"spec":{"required":1,"approvers":[{"kind":"User","name":"eve"}]}}`)).NotTo(Succeed())
		}
		stays(grant, "Unknown Pending")
	})

	It("a grant that is changed after it was asked for, and after it was approved", func() {
		p := newPlace()
		p.policy(dba)
		grant, request := p.ask(nil)
		Expect(change(alice, grant, `{"spec":{"reason":"something else"}}`)).To(Succeed())
		second := pending(grant)
		Expect(second.Name).NotTo(Equal(request.Name))
		Expect(second.Spec.Grant.Text).To(ContainSubstring("something else"))
		Eventually(func(g Gomega) { g.Expect(get(g, request).Status.WithdrawnAt).NotTo(BeNil()) }).Should(Succeed())
		Expect(decide(dora, request, v1alpha1.DecisionApproved)).NotTo(Succeed())
		stays(grant, "Unknown Pending")
		Expect(decide(dora, second, v1alpha1.DecisionApproved)).To(Succeed())
		becomes(grant, "True Approved")
		Expect(change(alice, grant, `{"spec":{"reason":"and another"}}`)).To(Succeed())
		pending(grant)
		Expect(change(alice, grant, `{"spec":{"reason":"something else"}}`)).To(Succeed()) // as it was approved, but for the generation
		pending(grant)
		Expect(change(alice, grant, `{"spec":{"postgres":{"access":"Full"}}}`)).To(MatchError(ContainSubstring("permissions are immutable")))
	})

	It("a Target that leads elsewhere after the approval", func() {
		p := newPlace()
		p.policy(dba)
		grant, request := p.ask(nil)
		Expect(decide(dora, request, v1alpha1.DecisionApproved)).To(Succeed())
		becomes(grant, "True Approved")
		Expect(change(alice, wrappers.MakeTarget(p.gate, "orders-db").Obj(), `{"spec":{"postgres":{"host":"payroll.shop.svc"}}}`)).To(Succeed())
		again := pending(grant)
		Expect(again.Spec.TargetRef.Generation).To(BeEquivalentTo(2))
	})

	It("an approval of a grant of the same name that was deleted", func() {
		p := newPlace()
		p.policy(dba)
		grant, request := p.ask(nil)
		Expect(decide(dora, request, v1alpha1.DecisionApproved)).To(Succeed())
		becomes(grant, "True Approved")
		Expect(as(alice).Delete(ctx, grant)).To(Succeed())
		_, again := p.ask(nil)
		Expect(again.Name).NotTo(Equal(request.Name))
	})

	It("a second ServiceAccount, unless a policy names it", func() {
		p := newPlace()
		robot := v1alpha1.Subject{Kind: v1alpha1.SubjectServiceAccount, Namespace: p.shop, Name: "robot"}
		p.policy(func(w *wrappers.Policy) {
			w.Quorum(v1alpha1.ApprovalQuorum{Required: 1, Approvers: []v1alpha1.Subject{robot, {Kind: v1alpha1.SubjectGroup, Name: "system:serviceaccounts"}}})
		})
		grant, request := p.ask(nil)
		second := apiserver.User{Name: "system:serviceaccount:" + p.shop + ":second", Groups: []string{"system:serviceaccounts"}}
		Expect(decide(second, request, v1alpha1.DecisionApproved)).To(MatchError(ContainSubstring("a ServiceAccount decides only where")))
		stays(grant, "Unknown Pending")
		Expect(decide(apiserver.User{Name: robot.Username(), Groups: []string{"system:serviceaccounts"}}, request, v1alpha1.DecisionApproved)).To(Succeed())
		becomes(grant, "True Approved")
	})

	It("many who approve, and two operators who ask, at once", func() {
		p := newPlace()
		p.policy(twoDBAs)
		grant, request := p.ask(nil)
		var wg sync.WaitGroup
		for _, u := range []apiserver.User{dora, dan, alice, eve} {
			for range 3 {
				wg.Go(func() {
					defer GinkgoRecover()
					_ = decide(u, request, v1alpha1.DecisionApproved) // who may not, and the second time, is refused
				})
			}
		}
		wg.Wait()
		becomes(grant, "True Approved")
		var all v1alpha1.ApprovalRequestList
		Expect(admin.List(ctx, &all, client.InNamespace(p.gate))).To(Succeed())
		Expect(all.Items).To(HaveLen(1))
		Expect(all.Items[0].Status.Decisions).To(HaveLen(2))
		Expect(grant.Status.Approval.Decisions).To(HaveLen(2))
	})
})
