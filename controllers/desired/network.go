package desired

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	networkingv1ac "k8s.io/client-go/applyconfigurations/networking/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

const dnsPort = 53

// NetworkPolicy returns what may talk to the proxy and to what it may talk. Anybody may
// reach the gate's ports, since the gate is what admits or refuses; metrics are for
// namespaces that carry the label metrics: enabled. Outwards there are DNS, the API server,
// the ports of the Targets, and the other replicas, which requests to cancel are passed on
// to.
func NetworkPolicy(g Gate) *networkingv1ac.NetworkPolicyApplyConfiguration {
	egress := make([]int32, 0, len(g.TargetPorts)+len(g.APIServerPorts))
	egress = append(append(egress, g.APIServerPorts...), g.TargetPorts...)
	out := networkingv1ac.NetworkPolicyEgressRule().WithPorts(
		port(corev1.ProtocolUDP, dnsPort), port(corev1.ProtocolTCP, dnsPort))
	for _, p := range egress {
		out.WithPorts(port(corev1.ProtocolTCP, p))
	}
	peers := networkingv1ac.NetworkPolicyEgressRule().
		WithTo(networkingv1ac.NetworkPolicyPeer().WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(Selector()))).
		WithPorts(port(corev1.ProtocolTCP, PostgresPort))
	gate := networkingv1ac.NetworkPolicyIngressRule().WithPorts(port(corev1.ProtocolTCP, PostgresPort))
	if g.Kubernetes {
		gate.WithPorts(port(corev1.ProtocolTCP, KubernetesPort))
	}
	if g.SSH {
		gate.WithPorts(port(corev1.ProtocolTCP, SSHPort))
	}
	return networkingv1ac.NetworkPolicy(v1alpha1.ProxyName, g.Namespace).
		WithLabels(Labels(g.Namespace)).
		WithSpec(networkingv1ac.NetworkPolicySpec().
			WithPodSelector(metav1ac.LabelSelector().WithMatchLabels(Selector())).
			WithPolicyTypes(networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress).
			WithIngress(
				gate,
				networkingv1ac.NetworkPolicyIngressRule().
					WithPorts(port(corev1.ProtocolTCP, MetricsPort)).
					WithFrom(networkingv1ac.NetworkPolicyPeer().WithNamespaceSelector(
						metav1ac.LabelSelector().WithMatchLabels(map[string]string{LabelMetrics: "enabled"})))).
			WithEgress(out, peers))
}

func port(protocol corev1.Protocol, number int32) *networkingv1ac.NetworkPolicyPortApplyConfiguration {
	return networkingv1ac.NetworkPolicyPort().WithProtocol(protocol).WithPort(intstr.FromInt32(number))
}
