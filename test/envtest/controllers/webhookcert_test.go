package controllers_test

import (
	"crypto/x509"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock/testing"

	"github.com/cardea-dev/cardea/controllers/webhookcert"
)

var _ = Describe("The operator's serving certificate", func() {
	const host = "operator.cardea-system.svc"

	It("is shared by all replicas, trusted by the webhook configuration, and renewed", func() {
		none, url := admissionv1.SideEffectClassNone, "https://"+host
		ignore := admissionv1.Ignore
		config := &admissionv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "certificate-test"},
			Webhooks: []admissionv1.MutatingWebhook{{
				Name: "a.example.com", SideEffects: &none, AdmissionReviewVersions: []string{"v1"}, FailurePolicy: &ignore,
				ClientConfig: admissionv1.WebhookClientConfig{URL: &url},
			}},
		}
		Expect(k8s.Create(ctx, config)).To(Succeed())
		DeferCleanup(func() { Expect(k8s.Delete(ctx, config)).To(Succeed()) })

		now := testing.NewFakeClock(time.Now())
		replica := func() *webhookcert.Keeper {
			return &webhookcert.Keeper{
				Live: k8s, Client: k8s, Clock: now, Namespace: root, Name: "certificate-test", Names: []string{host},
				Mutating: config.Name, Validating: "there-is-none",
			}
		}
		served := func(k *webhookcert.Keeper) *x509.Certificate {
			pair, err := k.GetCertificate(nil)
			Expect(err).NotTo(HaveOccurred())
			return pair.Leaf
		}
		trusted := func(c *x509.Certificate) {
			GinkgoHelper()
			get(NewWithT(GinkgoT()), config)
			pool := x509.NewCertPool()
			Expect(pool.AppendCertsFromPEM(config.Webhooks[0].ClientConfig.CABundle)).To(BeTrue())
			_, err := c.Verify(x509.VerifyOptions{Roots: pool, DNSName: host, CurrentTime: now.Now()})
			Expect(err).NotTo(HaveOccurred())
		}

		a, b := replica(), replica()
		_, err := a.GetCertificate(nil)
		Expect(err).To(MatchError(webhookcert.ErrNoCertificate))
		Expect(a.Ready()).NotTo(Succeed())
		Expect(a.Ensure(ctx)).To(Succeed())
		Expect(b.Ensure(ctx)).To(Succeed())
		Expect(b.Ready()).To(Succeed())
		first := served(a)
		Expect(served(b).Equal(first)).To(BeTrue())
		trusted(first)

		for range 40 {
			now.Step(9 * 24 * time.Hour)
			before := served(b)
			Expect(a.Ensure(ctx)).To(Succeed())
			trusted(served(a))
			trusted(before) // b has not looked yet
			Expect(b.Ensure(ctx)).To(Succeed())
			Expect(served(b).Equal(served(a))).To(BeTrue())
		}
		Expect(served(a).Equal(first)).To(BeFalse())
		Expect(served(a).Issuer.CommonName).To(Equal("certificate-test"))

		broken := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: root, Name: "certificate-test"}}
		get(NewWithT(GinkgoT()), broken)
		broken.Data = map[string][]byte{"tls.crt": []byte("garbage")}
		Expect(k8s.Update(ctx, broken)).To(Succeed())
		Expect(a.Ensure(ctx)).To(Succeed())
		trusted(served(a))
	})
})
