package controllers_test

import (
	"fmt"
	"strconv"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/wrappers"
)

func makeSegment(namespace, session string, index, size int) *corev1.ConfigMap {
	GinkgoHelper()
	yes := true
	cm := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("cardea-rec-%s-%06d", session, index),
			Labels: map[string]string{
				v1alpha1.LabelSession: session, v1alpha1.LabelSegment: strconv.Itoa(index), v1alpha1.LabelGrant: "g",
			},
			Annotations: map[string]string{"access.cardea.dev/bytes": strconv.Itoa(size)},
		},
		Immutable: &yes,
	}
	Expect(k8s.Create(ctx, cm)).To(Succeed())
	return cm
}

// endSession makes a session that ended at a time, recorded in a store.
func endSession(namespace, name, store string, at time.Time) *v1alpha1.Session {
	GinkgoHelper()
	s := wrappers.MakeSession(namespace, name, "proxy-gone", at.Add(-time.Minute))
	Expect(k8s.Create(ctx, s)).To(Succeed())
	ended := metav1.NewMicroTime(at)
	patch := client.MergeFrom(s.DeepCopy())
	s.Status = v1alpha1.SessionStatus{EndedAt: &ended, Recording: v1alpha1.SessionRecording{State: v1alpha1.RecordingComplete, Store: store}}
	Expect(k8s.Status().Patch(ctx, s, patch)).To(Succeed())
	return s
}

var _ = Describe("A Session", func() {
	It("is cut when the pod that carries it is gone, and only then", func() {
		p := newPlace()
		pod := makePod(p.gate, "proxy-a", nil)
		session := wrappers.MakeSession(p.gate, "report-abcde", "proxy-a", clk.Now())
		Expect(k8s.Create(ctx, session)).To(Succeed())
		session.Status.Recording.State = v1alpha1.RecordingOpen
		Expect(k8s.Status().Update(ctx, session)).To(Succeed())
		Consistently(func(g Gomega) { g.Expect(get(g, session).Status.EndedAt).To(BeNil()) }, "500ms").Should(Succeed())
		Expect(k8s.Delete(ctx, pod, client.GracePeriodSeconds(0))).To(Succeed())
		Eventually(func(g Gomega) {
			checkCondition(g, get(g, session).Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonCut)
			g.Expect(session.Status.EndedAt).NotTo(BeNil())
			g.Expect(session.Status.Recording.State).To(Equal(v1alpha1.RecordingCut))
		}).Should(Succeed())
	})

	It("is forgotten when there are more than 500 newer ones, and its recording is not", func() {
		p := newPlace()
		oldest := endSession(p.gate, "oldest", "", clk.Now().Add(-time.Hour))
		segment := makeSegment(p.gate, "oldest", 0, 10)
		Expect(k8s.Patch(ctx, endSession(p.gate, "held", "audit", clk.Now().Add(-48*time.Hour)), client.RawPatch(types.MergePatchType,
			[]byte(`{"metadata":{"labels":{"access.cardea.dev/legal-hold":"case-17"}}}`)))).To(Succeed())
		for i := range 500 {
			endSession(p.gate, fmt.Sprintf("s-%d", i), "", clk.Now().Add(-time.Minute))
		}
		Eventually(gone(oldest)).Should(BeTrue())
		var left v1alpha1.SessionList
		Expect(k8s.List(ctx, &left, client.InNamespace(p.gate))).To(Succeed())
		Expect(left.Items).To(HaveLen(501), "with the one under legal hold")
		Expect(gone(segment)()).To(BeFalse())
	})
})

var _ = Describe("A RecordingStore", func() {
	expectStore := func(store *v1alpha1.RecordingStore, want metav1.ConditionStatus, reason string, bytes int64, recordings int32) {
		GinkgoHelper()
		Eventually(func(g Gomega) {
			checkCondition(g, get(g, store).Status.Conditions, v1alpha1.ConditionReady, want, reason)
			g.Expect(store.Status.Bytes).To(Equal(bytes))
			g.Expect(store.Status.Recordings).To(Equal(recordings))
		}).Should(Succeed())
	}

	It("counts recordings and shuts the Targets that record into it when it is full", func() {
		p := newPlace()
		Expect(k8s.Create(ctx, p.login("orders-db"))).To(Succeed())
		store := wrappers.MakeStore(p.gate, "audit", 1<<20, 720*time.Hour)
		Expect(k8s.Create(ctx, store)).To(Succeed())
		target := wrappers.MakeTarget(p.gate, "orders-db").Store("audit").Obj()
		Expect(k8s.Create(ctx, target)).To(Succeed())
		expectStore(store, metav1.ConditionTrue, v1alpha1.ReasonReady, 0, 0)
		expectTarget(target, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)

		endSession(p.gate, "a", "audit", clk.Now())
		makeSegment(p.gate, "a", 0, 1000)
		makeSegment(p.gate, "a", 1, 24)
		expectStore(store, metav1.ConditionTrue, v1alpha1.ReasonReady, 1024, 1)
		makeSegment(p.gate, "a", 2, 1<<20)
		expectStore(store, metav1.ConditionFalse, v1alpha1.ReasonFull, 1024+1<<20, 1)
		expectTarget(target, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonFull)
	})

	It("deletes recordings after their retention and no sooner", func() {
		p := newPlace()
		Expect(k8s.Create(ctx, wrappers.MakeStore(p.gate, "audit", 1<<20, time.Hour))).To(Succeed())
		endSession(p.gate, "old", "audit", clk.Now().Add(-2*time.Hour))
		endSession(p.gate, "new", "audit", clk.Now().Add(-time.Minute))
		pod := makePod(p.gate, "proxy-a", nil)
		open := wrappers.MakeSession(p.gate, "open", pod.Name, clk.Now().Add(-3*time.Hour))
		Expect(k8s.Create(ctx, open)).To(Succeed())
		old, recent, live := makeSegment(p.gate, "old", 0, 1), makeSegment(p.gate, "new", 0, 1), makeSegment(p.gate, "open", 0, 1)
		foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: "somebodys", Labels: map[string]string{v1alpha1.LabelSession: "old"}}}
		Expect(k8s.Create(ctx, foreign)).To(Succeed())
		Eventually(gone(old)).Should(BeTrue())
		Consistently(func() bool { return gone(recent)() || gone(live)() || gone(foreign)() }, "500ms").Should(BeFalse())
	})

	hold := func(o client.Object) {
		GinkgoHelper()
		Expect(k8s.Patch(ctx, o, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"access.cardea.dev/legal-hold":"case-17"}}}`)))).To(Succeed())
	}

	It("deletes the oldest recordings beyond its bytes, none that is fresh, open or under legal hold", func() {
		p := newPlace()
		store := wrappers.MakeStore(p.gate, "audit", 64<<20, 720*time.Hour)
		store.Spec.ConfigMap.RetentionBytes = 2 << 20
		Expect(k8s.Create(ctx, store)).To(Succeed())
		pod := makePod(p.gate, "proxy-a", nil)
		open := wrappers.MakeSession(p.gate, "open", pod.Name, clk.Now().Add(-90*time.Hour))
		Expect(k8s.Create(ctx, open)).To(Succeed())
		open.Status.Recording.Store = "audit"
		Expect(k8s.Status().Update(ctx, open)).To(Succeed())
		hold(endSession(p.gate, "held", "audit", clk.Now().Add(-80*time.Hour)))
		var older []*corev1.ConfigMap
		for i, name := range []string{"a", "b", "c"} {
			endSession(p.gate, name, "audit", clk.Now().Add(time.Duration(i-70)*time.Hour))
		}
		endSession(p.gate, "fresh", "audit", clk.Now().Add(-23*time.Hour))
		live, held := makeSegment(p.gate, "open", 0, 600<<10), makeSegment(p.gate, "held", 0, 600<<10)
		for _, name := range []string{"a", "b", "c"} {
			older = append(older, makeSegment(p.gate, name, 0, 300<<10))
		}
		// Now it is 2100 KiB: the oldest has to go.
		Eventually(gone(older[0])).Should(BeTrue())
		Consistently(func() bool { return gone(older[1])() || gone(older[2])() || gone(live)() || gone(held)() }, "500ms").Should(BeFalse())
		// What is fresh pushes out what is older, and stays itself.
		flood := makeSegment(p.gate, "fresh", 0, 4<<20)
		Eventually(func() bool { return gone(older[1])() && gone(older[2])() }).Should(BeTrue())
		Consistently(func() bool { return gone(flood)() || gone(live)() || gone(held)() }, "500ms").Should(BeFalse())
		Eventually(func(g Gomega) {
			var list eventsv1.EventList
			g.Expect(k8s.List(ctx, &list, client.InNamespace(p.gate))).To(Succeed())
			g.Expect(list.Items).To(ContainElement(HaveField("Note", And(ContainSubstring("the recording of session a"), ContainSubstring("retentionBytes")))))
		}).Should(Succeed())
	})

	It("keeps what is under legal hold beyond its retention", func() {
		p := newPlace()
		store := wrappers.MakeStore(p.gate, "audit", 1<<20, time.Hour)
		Expect(k8s.Create(ctx, store)).To(Succeed())
		held := endSession(p.gate, "held", "audit", clk.Now().Add(-2*time.Hour))
		hold(held)
		segment := makeSegment(p.gate, "held", 0, 1)
		endSession(p.gate, "other", "audit", clk.Now().Add(-2*time.Hour))
		Eventually(gone(makeSegment(p.gate, "other", 0, 1))).Should(BeTrue())
		Consistently(gone(segment), "500ms").Should(BeFalse())
		By("holding the store and releasing the session")
		hold(store)
		Expect(k8s.Patch(ctx, held, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":null}}`)))).To(Succeed())
		Consistently(gone(segment), "500ms").Should(BeFalse())
		Expect(k8s.Patch(ctx, store, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":null}}`)))).To(Succeed())
		Eventually(gone(segment)).Should(BeTrue())
	})
})

var _ = Describe("An ApprovalRequest", func() {
	expectRequest := func(r *v1alpha1.ApprovalRequest, want metav1.ConditionStatus, reason string) {
		GinkgoHelper()
		Eventually(func(g Gomega) {
			checkCondition(g, get(g, r).Status.Conditions, v1alpha1.ConditionReady, want, reason)
		}).Should(Succeed())
	}

	It("tells what became of it by the proxy's own count", func() {
		p := newPlace()
		r := wrappers.MakeApprovalRequest(p.gate, "x7k2p", clk.Now().Add(time.Hour))
		Expect(k8s.Create(ctx, r)).To(Succeed())
		expectRequest(r, metav1.ConditionUnknown, v1alpha1.ReasonPending)
		decide := func(d v1alpha1.ApprovalDecision) {
			Eventually(func(g Gomega) {
				get(g, r)
				r.Status.Decisions = append(r.Status.Decisions, d)
				g.Expect(k8s.Status().Update(ctx, r)).To(Succeed())
			}).Should(Succeed())
		}
		decide(v1alpha1.ApprovalDecision{Approver: "ana", Groups: []string{"dba"}, Decision: v1alpha1.DecisionApproved})
		Consistently(func(g Gomega) {
			checkCondition(g, get(g, r).Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionUnknown, v1alpha1.ReasonPending)
		}, "500ms").Should(Succeed(), "the requester does not count")
		decide(v1alpha1.ApprovalDecision{Approver: "bob", Groups: []string{"dba"}, Decision: v1alpha1.DecisionApproved})
		expectRequest(r, metav1.ConditionTrue, v1alpha1.ReasonApproved)
		Eventually(func(g Gomega) {
			get(g, r)
			r.Status.Consumed = &v1alpha1.ApprovalConsumption{Session: "s", Time: metav1.Now()}
			g.Expect(k8s.Status().Update(ctx, r)).To(Succeed())
		}).Should(Succeed())
		expectRequest(r, metav1.ConditionTrue, v1alpha1.ReasonConsumed)
	})

	It("lapses, and is deleted a day later", func() {
		p := newPlace()
		r := wrappers.MakeApprovalRequest(p.gate, "aaaaa", clk.Now().Add(2*time.Second))
		Expect(k8s.Create(ctx, r)).To(Succeed())
		expectRequest(r, metav1.ConditionFalse, v1alpha1.ReasonExpired)
		old := wrappers.MakeApprovalRequest(p.gate, "bbbbb", clk.Now().Add(-25*time.Hour))
		Expect(k8s.Create(ctx, old)).To(Succeed())
		Eventually(gone(old)).Should(BeTrue())
		Expect(gone(r)()).To(BeFalse())
	})
})
