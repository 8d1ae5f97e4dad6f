package desired

import (
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
	d := appsv1ac.Deployment(v1alpha1.ProxyName, g.Namespace).
		WithLabels(Labels(g.Namespace)).
		WithSpec(appsv1ac.DeploymentSpec().
			WithReplicas(g.Replicas).
			WithRevisionHistoryLimit(2).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(Selector())).
			// A new pod is up before an old one drains: no client finds the gate shut.
			WithStrategy(appsv1ac.DeploymentStrategy().WithRollingUpdate(appsv1ac.RollingUpdateDeployment().
				WithMaxUnavailable(intstr.FromInt32(0)).WithMaxSurge(intstr.FromInt32(1)))).
			WithTemplate(podTemplate(g)))
	if !g.IdleSince.IsZero() {
		d.WithAnnotations(map[string]string{AnnotationIdleSince: g.IdleSince.UTC().Format(time.RFC3339)})
	}
	return d
}

func podTemplate(g Gate) *corev1ac.PodTemplateSpecApplyConfiguration {
	return corev1ac.PodTemplateSpec().
		WithLabels(Labels(g.Namespace)).
		WithSpec(corev1ac.PodSpec().
			WithServiceAccountName(v1alpha1.ProxyName).
			WithAutomountServiceAccountToken(true).
			WithEnableServiceLinks(false).
			WithTerminationGracePeriodSeconds(60).
			WithSecurityContext(corev1ac.PodSecurityContext().
				WithRunAsNonRoot(true).WithRunAsUser(nonRoot).WithRunAsGroup(nonRoot).WithFSGroup(nonRoot).
				WithSeccompProfile(corev1ac.SeccompProfile().WithType(corev1.SeccompProfileTypeRuntimeDefault))).
			WithTopologySpreadConstraints(corev1ac.TopologySpreadConstraint().
				WithMaxSkew(1).WithTopologyKey(corev1.LabelHostname).
				WithWhenUnsatisfiable(corev1.ScheduleAnyway).
				WithLabelSelector(metav1ac.LabelSelector().WithMatchLabels(Selector()))).
			WithContainers(container(g)).
			WithVolumes(
				corev1ac.Volume().WithName("tls").WithSecret(corev1ac.SecretVolumeSource().
					WithSecretName(v1alpha1.ProxyTLSName).WithDefaultMode(0o440)),
				// The spool outlives a restart of the container: what was recorded is shipped then.
				corev1ac.Volume().WithName("spool").WithEmptyDir(corev1ac.EmptyDirVolumeSource().
					WithSizeLimit(resource.MustParse("1Gi")))))
}

func container(g Gate) *corev1ac.ContainerApplyConfiguration {
	probe := func(path string, period, failures int32) *corev1ac.ProbeApplyConfiguration {
		return corev1ac.Probe().WithPeriodSeconds(period).WithTimeoutSeconds(3).WithFailureThreshold(failures).
			WithHTTPGet(corev1ac.HTTPGetAction().WithPath(path).WithPort(intstr.FromString("metrics")))
	}
	return corev1ac.Container().
		WithName("proxy").
		WithImage(g.Image).
		WithImagePullPolicy(corev1.PullIfNotPresent).
		WithArgs(
			"--namespace=$(POD_NAMESPACE)", "--root-namespace="+g.RootNamespace, "--pod-name=$(POD_NAME)",
			"--tls-dir="+tlsPath, "--spool="+spoolPath,
			"--postgres-port=5432", "--metrics-port=8080", "--drain=30s").
		WithEnv(fieldEnv("POD_NAMESPACE", "metadata.namespace"), fieldEnv("POD_NAME", "metadata.name")).
		WithPorts(
			corev1ac.ContainerPort().WithName("postgres").WithContainerPort(PostgresPort).WithProtocol(corev1.ProtocolTCP),
			corev1ac.ContainerPort().WithName("metrics").WithContainerPort(MetricsPort).WithProtocol(corev1.ProtocolTCP)).
		WithStartupProbe(probe("/healthz", 1, 60)).
		WithReadinessProbe(probe("/readyz", 1, 3)).
		WithLivenessProbe(probe("/healthz", 10, 3)).
		WithResources(corev1ac.ResourceRequirements().
			WithRequests(corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("50m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
			}).
			WithLimits(corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("512Mi")})).
		WithSecurityContext(corev1ac.SecurityContext().
			WithAllowPrivilegeEscalation(false).WithReadOnlyRootFilesystem(true).WithRunAsNonRoot(true).
			WithCapabilities(corev1ac.Capabilities().WithDrop("ALL"))).
		WithVolumeMounts(
			corev1ac.VolumeMount().WithName("tls").WithMountPath(tlsPath).WithReadOnly(true),
			corev1ac.VolumeMount().WithName("spool").WithMountPath(spoolPath))
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
	return corev1ac.Service(v1alpha1.ProxyName, g.Namespace).
		WithLabels(Labels(g.Namespace)).
		WithSpec(corev1ac.ServiceSpec().
			WithType(corev1.ServiceTypeClusterIP).
			WithSelector(Selector()).
			WithPorts(port("postgres", PostgresPort), port("metrics", MetricsPort)))
}

// PodDisruptionBudget returns the budget that keeps evictions to one proxy at a time.
func PodDisruptionBudget(g Gate) *policyv1ac.PodDisruptionBudgetApplyConfiguration {
	return policyv1ac.PodDisruptionBudget(v1alpha1.ProxyName, g.Namespace).
		WithLabels(Labels(g.Namespace)).
		WithSpec(policyv1ac.PodDisruptionBudgetSpec().
			WithMaxUnavailable(intstr.FromInt32(1)).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(Selector())))
}
