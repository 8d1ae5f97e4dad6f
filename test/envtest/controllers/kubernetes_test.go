package controllers_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/wrappers"
)

// clusterRole makes a role that this spec alone uses.
func (p place) clusterRole() v1alpha1.RoleReference {
	GinkgoHelper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: p.gate + "-reader"},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get", "list"}}}}
	Expect(k8s.Create(ctx, role)).To(Succeed())
	DeferCleanup(func() { Expect(client.IgnoreNotFound(k8s.Delete(ctx, role))).To(Succeed()) })
	return v1alpha1.RoleReference{Kind: v1alpha1.RoleKindClusterRole, Name: role.Name}
}

func (p place) withCluster(roles ...v1alpha1.RoleReference) place {
	GinkgoHelper()
	t := wrappers.MakeTarget(p.gate, "cluster").Obj()
	t.Spec.Postgres, t.Spec.Kubernetes = nil, &v1alpha1.KubernetesTarget{Roles: roles}
	Expect(k8s.Create(ctx, t)).To(Succeed())
	return p
}

func (p place) clusterGrant(name string, role v1alpha1.RoleReference) *v1alpha1.AccessGrant {
	g := wrappers.MakeGrant(p.gate, name).For(p.shop, "agent").On("cluster").Lasting(time.Hour).Obj()
	g.Spec.Postgres, g.Spec.Kubernetes = nil, &v1alpha1.KubernetesPermissions{Namespaces: []string{p.shop}, RoleRef: role}
	return g
}

func (p place) bindings(g Gomega) []rbacv1.RoleBinding {
	var list rbacv1.RoleBindingList
	g.Expect(k8s.List(ctx, &list, client.InNamespace(p.shop), client.HasLabels{v1alpha1.LabelGrantUID})).To(Succeed())
	return list.Items
}

// users are those that the gate's proxy may impersonate.
func (p place) users(g Gomega) []string {
	role, binding := &rbacv1.ClusterRole{}, &rbacv1.ClusterRoleBinding{}
	key := client.ObjectKey{Name: "cardea-proxy-" + p.gate}
	if err := k8s.Get(ctx, key, role); err != nil {
		g.Expect(client.IgnoreNotFound(err)).To(Succeed())
		g.Expect(client.IgnoreNotFound(k8s.Get(ctx, key, binding))).To(Succeed())
		g.Expect(binding.Name).To(BeEmpty())
		return nil
	}
	g.Expect(k8s.Get(ctx, key, binding)).To(Succeed())
	g.Expect(binding.Subjects).To(Equal([]rbacv1.Subject{{Kind: "ServiceAccount", Namespace: p.gate, Name: "cardea-proxy"}}))
	g.Expect(binding.RoleRef.Name).To(Equal(role.Name))
	g.Expect(role.Rules).To(HaveLen(1))
	g.Expect(role.Rules[0].Verbs).To(Equal([]string{"impersonate"}))
	g.Expect(role.Rules[0].Resources).To(Equal([]string{"users"}))
	g.Expect(role.Rules[0].ResourceNames).NotTo(BeEmpty(), "a rule without names is about every user")
	return role.Rules[0].ResourceNames
}

func userOf(g *v1alpha1.AccessGrant) string {
	return "cardea:grant:" + g.Namespace + ":" + g.Name + ":" + string(g.UID)
}

var _ = Describe("A grant on this cluster", func() {
	It("binds its role to its own user, and lets the proxy impersonate that one alone", func() {
		p := newPlace()
		role := p.clusterRole()
		p.withCluster(role)
		one, two := p.clusterGrant("one", role), p.clusterGrant("two", role)
		Expect(k8s.Create(ctx, one)).To(Succeed())
		Expect(k8s.Create(ctx, two)).To(Succeed())
		p.proxyUp()
		expectReady(one, metav1.ConditionTrue, v1alpha1.ReasonActive)
		expectReady(two, metav1.ConditionTrue, v1alpha1.ReasonActive)
		Eventually(func(g Gomega) { g.Expect(p.users(g)).To(ConsistOf(userOf(one), userOf(two))) }).Should(Succeed())
		Eventually(func(g Gomega) { g.Expect(p.bindings(g)).To(HaveLen(2)) }).Should(Succeed())
		b := &rbacv1.RoleBinding{}
		Expect(k8s.Get(ctx, client.ObjectKey{Namespace: p.shop, Name: "cardea-grant-" + string(one.UID)}, b)).To(Succeed())
		Expect(b.RoleRef).To(Equal(rbacv1.RoleRef{APIGroup: "rbac.authorization.k8s.io", Kind: "ClusterRole", Name: role.Name}))
		Expect(b.Subjects).To(Equal([]rbacv1.Subject{{APIGroup: "rbac.authorization.k8s.io", Kind: "User", Name: userOf(one)}}))

		By("delivering a kubeconfig")
		s := p.secret(NewWithT(GinkgoT()), "cardea-one")
		Expect(s.Type).To(Equal(corev1.SecretType(v1alpha1.SecretTypeKubernetes)))
		config, err := clientcmd.RESTConfigFromKubeConfig(s.Data["kubeconfig"])
		Expect(err).NotTo(HaveOccurred())
		Expect(config.Host).To(Equal("https://cardea-proxy." + p.gate + ".svc:6443"))
		Expect(config.CertData).NotTo(BeEmpty())

		By("opening the port")
		svc, policy := &corev1.Service{}, &networkingv1.NetworkPolicy{}
		key := client.ObjectKey{Namespace: p.gate, Name: v1alpha1.ProxyName}
		Expect(k8s.Get(ctx, key, svc)).To(Succeed())
		Expect(svc.Spec.Ports).To(ContainElement(HaveField("Port", int32(6443))))
		Expect(k8s.Get(ctx, key, policy)).To(Succeed())
		Expect(policy.Spec.Ingress[0].Ports).To(HaveLen(2))
		Expect(p.deployment(NewWithT(GinkgoT())).Spec.Template.Spec.Containers[0].Args).To(ContainElement("--kubernetes-port=6443"))

		By("taking all of it away at revocation")
		Eventually(func(g Gomega) {
			get(g, one).Spec.DesiredState = v1alpha1.GrantRevoked
			g.Expect(k8s.Update(ctx, one)).To(Succeed())
		}).Should(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(p.bindings(g)).To(HaveLen(1))
			g.Expect(p.users(g)).To(ConsistOf(userOf(two)))
		}).Should(Succeed())

		By("and at deletion, the role for impersonation with the last of them")
		Expect(k8s.Delete(ctx, two)).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(p.bindings(g)).To(BeEmpty())
			g.Expect(p.users(g)).To(BeNil())
		}).Should(Succeed())
	})

	It("tells whether its role leads to values of Secrets", func() {
		p := newPlace()
		reader, role := p.clusterRole(), v1alpha1.RoleReference{Kind: v1alpha1.RoleKindRole, Name: "deployer"}
		p.withCluster(reader, role)
		one, two := p.clusterGrant("reads", reader), p.clusterGrant("deploys", role)
		Expect(k8s.Create(ctx, one)).To(Succeed())
		Expect(k8s.Create(ctx, two)).To(Succeed())
		reachable := func(of *v1alpha1.AccessGrant, status metav1.ConditionStatus, reason, message string) {
			GinkgoHelper()
			Eventually(func(g Gomega) {
				c := meta.FindStatusCondition(get(g, of).Status.Conditions, v1alpha1.ConditionSecretsReachable)
				g.Expect(c).To(And(HaveField("Status", status), HaveField("Reason", reason), HaveField("Message", ContainSubstring(message))))
			}).Should(Succeed())
		}
		reachable(one, metav1.ConditionFalse, v1alpha1.ReasonUnreachable, "nothing")
		reachable(two, metav1.ConditionUnknown, v1alpha1.ReasonReferenceMissing, "does not exist")
		Expect(k8s.Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: p.shop, Name: "deployer"},
			Rules: []rbacv1.PolicyRule{{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"patch"}}}})).To(Succeed())
		touch(two)
		reachable(two, metav1.ConditionTrue, v1alpha1.ReasonReachable, "deployments.apps")
		Eventually(func(g Gomega) {
			get(g, two).Spec.DesiredState = v1alpha1.GrantRevoked
			g.Expect(k8s.Update(ctx, two)).To(Succeed())
		}).Should(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(meta.FindStatusCondition(get(g, two).Status.Conditions, v1alpha1.ConditionSecretsReachable)).To(BeNil())
		}).Should(Succeed())
	})

	It("waits for its role and its namespace, and mends what is changed", func() {
		p := newPlace()
		role := v1alpha1.RoleReference{Kind: v1alpha1.RoleKindRole, Name: "deployer"}
		p.withCluster(role)
		grant := p.clusterGrant("deploy", role)
		Expect(k8s.Create(ctx, grant)).To(Succeed())
		p.proxyUp()
		expectReady(grant, metav1.ConditionFalse, v1alpha1.ReasonReferenceMissing)
		Expect(p.bindings(NewWithT(GinkgoT()))).To(BeEmpty())
		Expect(k8s.Create(ctx, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: p.shop, Name: "deployer"}})).To(Succeed())
		touch(grant)
		expectReady(grant, metav1.ConditionTrue, v1alpha1.ReasonActive)

		b := &rbacv1.RoleBinding{}
		key := client.ObjectKey{Namespace: p.shop, Name: "cardea-grant-" + string(grant.UID)}
		Expect(k8s.Get(ctx, key, b)).To(Succeed())
		Expect(k8s.Delete(ctx, b)).To(Succeed())
		Eventually(func(g Gomega) { g.Expect(k8s.Get(ctx, key, b)).To(Succeed()) }).Should(Succeed())
		b.Subjects = append(b.Subjects, rbacv1.Subject{APIGroup: "rbac.authorization.k8s.io", Kind: "User", Name: "mallory"})
		Expect(k8s.Update(ctx, b)).To(Succeed())
		Eventually(func(g Gomega) {
			g.Expect(k8s.Get(ctx, key, b)).To(Succeed())
			g.Expect(b.Subjects).To(HaveLen(1))
		}).Should(Succeed())
	})

	It("has no rights before it begins", func() {
		p := newPlace()
		role := p.clusterRole()
		p.withCluster(role)
		grant := p.clusterGrant("later", role)
		start := metav1.NewTime(clk.Now().Add(lead / 2).Truncate(time.Second))
		grant.Spec.StartsAt = &start
		Expect(k8s.Create(ctx, grant)).To(Succeed())
		p.proxyUp()
		expectReady(grant, metav1.ConditionTrue, v1alpha1.ReasonScheduled)
		Consistently(func(g Gomega) {
			g.Expect(p.bindings(g)).To(BeEmpty())
			g.Expect(p.users(g)).To(BeNil())
		}, "1s").Should(Succeed())
		clk.advance(lead)
		touch(grant)
		expectReady(grant, metav1.ConditionTrue, v1alpha1.ReasonActive)
		Eventually(func(g Gomega) {
			g.Expect(p.bindings(g)).To(HaveLen(1))
			g.Expect(p.users(g)).To(ConsistOf(userOf(grant)))
		}).Should(Succeed())
	})

	It("says which ClusterRole its Target lists in vain", func() {
		p := newPlace().withCluster(v1alpha1.RoleReference{Kind: v1alpha1.RoleKindClusterRole, Name: "nobody-made-this"})
		t := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: "cluster"}}
		Eventually(func(g Gomega) {
			checkCondition(g, get(g, t).Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonReferenceMissing)
		}).Should(Succeed())
	})
})
