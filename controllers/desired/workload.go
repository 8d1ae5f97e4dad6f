package desired

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

const (
	tlsPath   = "/etc/cardea/tls"
	spoolPath = "/var/spool/cardea"
	nonRoot   = 65532
)

// Deployment returns the proxy's Deployment.
func Deployment(g Gate) *appsv1ac.DeploymentApplyConfiguration {
	template := podTemplate(g)
	d := appsv1ac.Deployment(v1alpha1.ProxyName, g.Namespace).
		WithLabels(Labels(g.Namespace)).
		WithAnnotations(map[string]string{AnnotationTemplate: digest(template)}).
		WithSpec(appsv1ac.DeploymentSpec().
			WithReplicas(g.Replicas).
			WithRevisionHistoryLimit(2).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(Selector())).
			// A new pod is up before an old one drains: no client finds the gate shut.
			WithStrategy(appsv1ac.DeploymentStrategy().WithRollingUpdate(appsv1ac.RollingUpdateDeployment().
				WithMaxUnavailable(intstr.FromInt32(0)).WithMaxSurge(intstr.FromInt32(1)))).
			WithTemplate(template))
	if !g.IdleSince.IsZero() {
		d.WithAnnotations(map[string]string{AnnotationIdleSince: g.IdleSince.UTC().Format(time.RFC3339)})
	}
	if g.ProxyGeneration > 0 {
		d.WithAnnotations(map[string]string{AnnotationProxy: strconv.FormatInt(g.ProxyGeneration, 10)})
	}
	return d
}

// Template is the digest of the template of a gate's pods: where it changes, they are
// replaced.
func Template(g Gate) string { return digest(podTemplate(g)) }

func digest(template *corev1ac.PodTemplateSpecApplyConfiguration) string {
	// What holds strings, numbers, maps and lists of them is encoded without an error, and
	// always alike.
	raw, err := json.Marshal(template)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16])
}

func podTemplate(g Gate) *corev1ac.PodTemplateSpecApplyConfiguration {
	return corev1ac.PodTemplateSpec().
		WithLabels(Labels(g.Namespace)).
		WithSpec(schedule(g.Proxy.Scheduling, corev1ac.PodSpec().
			WithServiceAccountName(v1alpha1.ProxyName).
			WithAutomountServiceAccountToken(true).
			WithEnableServiceLinks(false).
			WithTerminationGracePeriodSeconds(int64(drain(g.Proxy)/time.Second)+afterDrain).
			WithSecurityContext(corev1ac.PodSecurityContext().
				WithRunAsNonRoot(true).WithRunAsUser(nonRoot).WithRunAsGroup(nonRoot).WithFSGroup(nonRoot).
				WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
			WithTopologySpreadConstraints(spread(corev1.LabelHostname), spread(corev1.LabelTopologyZone)).
			WithContainers(container(g)).
			WithVolumes(
				corev1ac.Volume().WithName("tls").WithSecret(corev1ac.SecretVolumeSource().
					WithSecretName(v1alpha1.ProxyTLSName).WithDefaultMode(0o440)),
				// The spool outlives a restart of the container: what was recorded is shipped then.
				corev1ac.Volume().WithName("spool").WithEmptyDir(corev1ac.EmptyDirVolumeSource().
					WithSizeLimit(resource.MustParse("1Gi"))))))
}

func container(g Gate) *corev1ac.ContainerApplyConfiguration {
	probe := func(path string, period, failures int32) *corev1ac.ProbeApplyConfiguration {
		return corev1ac.Probe().WithPeriodSeconds(period).WithTimeoutSeconds(3).WithFailureThreshold(failures).
			WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromString("metrics")))
	}
	c := corev1ac.Container().
		WithName("proxy").
		WithImage(g.Image).
		WithImagePullPolicy(corev1.PullIfNotPresent).
		WithArgs(
			"--namespace=$(POD_NAMESPACE)", "--root-namespace="+g.RootNamespace, "--pod-name=$(POD_NAME)",
			"--tls-dir="+tlsPath, "--spool="+spoolPath,
			"--postgres-port=5432", "--metrics-port=8080", "--drain="+drain(g.Proxy).String(), "--peers="+PeersHost(g.Namespace)).
		WithEnv(fieldEnv("POD_NAMESPACE", "metadata.namespace"), fieldEnv("POD_NAME", "metadata.name")).
		WithPorts(
			corev1ac.ContainerPort().WithName("postgres").WithContainerPort(PostgresPort).WithProtocol(corev1.ProtocolTCP),
			corev1ac.ContainerPort().WithName("metrics").WithContainerPort(MetricsPort).WithProtocol(corev1.ProtocolTCP)).
		WithStartupProbe(probe("/healthz", 1, 60)).
		WithReadinessProbe(probe("/readyz", 1, 3)).
		WithLivenessProbe(probe("/healthz", 10, 3)).
		WithResources(resources(g.Proxy.Resources)).
		WithSecurityContext(corev1ac.SecurityContext().
			WithAllowPrivilegeEscalation(false).WithReadOnlyRootFilesystem(true).WithRunAsNonRoot(true).
			WithCapabilities(corev1ac.Capabilities().WithDrop("ALL"))).
		WithVolumeMounts(
			corev1ac.VolumeMount().WithName("tls").WithMountPath(tlsPath).WithReadOnly(true),
			corev1ac.VolumeMount().WithName("spool").WithMountPath(spoolPath))
	if g.Kubernetes {
		c.WithArgs("--kubernetes-port=6443").
			WithPorts(corev1ac.ContainerPort().WithName("kubernetes").WithContainerPort(KubernetesPort).WithProtocol(corev1.ProtocolTCP))
	}
	if g.SSH {
		c.WithArgs("--ssh-port=2222").
			WithPorts(corev1ac.ContainerPort().WithName("ssh").WithContainerPort(SSHPort).WithProtocol(corev1.ProtocolTCP))
	}
	return c
}

func fieldEnv(name, path string) *corev1ac.EnvVarApplyConfiguration {
	return corev1ac.EnvVar().WithName(name).WithValueFrom(corev1ac.EnvVarSource().
		WithFieldRef(corev1ac.ObjectFieldSelector().WithAPIVersion("v1").WithFieldPath(path)))
}

// Service returns the Service by which clients reach the gate.
func Service(g Gate) *corev1ac.ServiceApplyConfiguration {
	port := func(name string, number int32) *corev1ac.ServicePortApplyConfiguration {
		return corev1ac.ServicePort().WithName(name).WithPort(number).
			WithTargetPort(intstr.FromString(name)).WithProtocol(corev1.ProtocolTCP)
	}
	spec := corev1ac.ServiceSpec().
		WithType(corev1.ServiceTypeClusterIP).
		WithSelector(Selector()).
		WithPorts(port("postgres", PostgresPort))
	if g.Kubernetes {
		spec.WithPorts(port("kubernetes", KubernetesPort))
	}
	if g.SSH {
		spec.WithPorts(port("ssh", SSHPort))
	}
	s := corev1ac.Service(v1alpha1.ProxyName, g.Namespace).WithLabels(Labels(g.Namespace)).WithSpec(spec)
	e := g.Proxy.Exposure
	if e == nil || e.Type == "" || e.Type == v1alpha1.ExposureClusterIP {
		// Metrics are for the cluster alone: no load balancer or node offers them.
		spec.WithPorts(port("metrics", MetricsPort))
	}
	if e != nil {
		s.WithAnnotations(e.Annotations)
		spec.WithLoadBalancerSourceRanges(e.SourceRanges...)
		if e.Type != "" {
			spec.WithType(corev1.ServiceType(e.Type))
		}
	}
	return s
}

// PeersService returns the headless Service that names every replica, also one that does not
// take sessions any more and still has some.
func PeersService(g Gate) *corev1ac.ServiceApplyConfiguration {
	return corev1ac.Service(v1alpha1.ProxyPeersName, g.Namespace).
		WithLabels(Labels(g.Namespace)).
		WithSpec(corev1ac.ServiceSpec().
			WithClusterIP(corev1.ClusterIPNone).
			WithPublishNotReadyAddresses(true).
			WithSelector(Selector()).
			WithPorts(corev1ac.ServicePort().WithName("postgres").WithPort(PostgresPort).
				WithTargetPort(intstr.FromString("postgres")).WithProtocol(corev1.ProtocolTCP)))
}

// PodDisruptionBudget returns the budget that keeps evictions to one proxy at a time.
func PodDisruptionBudget(g Gate) *policyv1ac.PodDisruptionBudgetApplyConfiguration {
	return policyv1ac.PodDisruptionBudget(v1alpha1.ProxyName, g.Namespace).
		WithLabels(Labels(g.Namespace)).
		WithSpec(policyv1ac.PodDisruptionBudgetSpec().
			WithMaxUnavailable(intstr.FromInt32(1)).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(Selector())))
}
