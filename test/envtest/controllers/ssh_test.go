package controllers_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/test/wrappers"
)

// withHost makes a Target that signs in with a held key.
func (p place) withHost() place {
	GinkgoHelper()
	t := wrappers.MakeTarget(p.gate, "host").Obj()
	t.Spec.Postgres, t.Spec.SSH = nil, &v1alpha1.SSHTarget{Host: "host.example", Logins: []string{"deploy"},
		HostKeys: []string{"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAjuBYZOeTMYaX8z7fcWYOogL2ZSHWFn9u3bBhW8QqKl"},
		Key:      &v1alpha1.SSHKey{SecretRef: v1alpha1.ObjectName{Name: "host-key"}}}
	Expect(k8s.Create(ctx, t)).To(Succeed())
	Expect(k8s.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.gate, Name: "host-key", Labels: map[string]string{v1alpha1.LabelTarget: "host"}},
		Type:       corev1.SecretTypeSSHAuth, StringData: map[string]string{corev1.SSHAuthPrivateKey: "read by the proxy alone"},
	})).To(Succeed())
	return p
}

var _ = Describe("A grant on a host", func() {
	It("delivers what ssh needs, and takes it back at revocation and at deletion", func() {
		p := newPlace().withHost()
		grant := func(name string) *v1alpha1.AccessGrant {
			g := wrappers.MakeGrant(p.gate, name).For(p.shop, "agent").On("host").Lasting(time.Hour).Obj()
			g.Spec.Postgres, g.Spec.SSH = nil, &v1alpha1.SSHPermissions{Logins: []string{"deploy"}, Channels: []v1alpha1.SSHChannel{v1alpha1.SSHExec}}
			Expect(k8s.Create(ctx, g)).To(Succeed())
			return g
		}
		revoked, deleted := grant("revoked"), grant("deleted")
		p.proxyUp()
		for _, g := range []*v1alpha1.AccessGrant{revoked, deleted} {
			expectReady(g, metav1.ConditionTrue, v1alpha1.ReasonActive)
			s := p.secret(NewWithT(GinkgoT()), "cardea-"+g.Name)
			Expect(s.Type).To(Equal(corev1.SecretType(v1alpha1.SecretTypeSSH)))
			Expect(s.Data).To(And(HaveKey("id_ed25519"), HaveKey("id_ed25519-cert.pub"), HaveKey("known_hosts"), HaveKey("config")))
		}
		Eventually(func(g Gomega) {
			get(g, revoked).Spec.DesiredState = v1alpha1.GrantRevoked
			g.Expect(k8s.Update(ctx, revoked)).To(Succeed())
		}).Should(Succeed())
		Expect(k8s.Delete(ctx, deleted)).To(Succeed())
		for _, name := range []string{"revoked", "deleted"} {
			Eventually(gone(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.shop, Name: "cardea-" + name}})).Should(BeTrue())
		}
	})
})
