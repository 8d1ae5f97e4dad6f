package kubernetes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
)

// codecs read bodies as the API server does.
var codecs = serializer.NewCodecFactory(scheme.Scheme, serializer.WithSerializer(cbor.NewSerializerInfo))

// maxPod is the most bytes of a pod that is asked for.
const maxPod = 3 << 20

// kinds are those of the resources from which pods are made.
var kinds = map[string]string{
	"pods": "Pod", "podtemplates": "PodTemplate", "replicationcontrollers": "ReplicationController", "daemonsets": "DaemonSet",
	"deployments": "Deployment", "replicasets": "ReplicaSet", "statefulsets": "StatefulSet", "cronjobs": "CronJob", "jobs": "Job",
}

var (
	errForm  = errors.New("the form of its body is not known")
	errBody  = errors.New("its body cannot be read")
	errKind  = errors.New("its body is of another kind than its path")
	errPatch = errors.New("it patches what the gate does not follow; use a merge patch or server-side apply")
)

// podsIn says what is known of the pods that will be made from a body.
func podsIn(f *kubeapi.Facts, contentType string, body []byte) *kubeapi.Pods {
	o, err := written(f, contentType, body)
	if err != nil {
		return &kubeapi.Pods{Unknown: err.Error()}
	}
	if o == nil {
		return &kubeapi.Pods{Known: true}
	}
	spec, err := specOf(f, o)
	if err != nil {
		return &kubeapi.Pods{Unknown: err.Error()}
	}
	return &kubeapi.Pods{Known: true, Escapes: escapesOf(spec)}
}

// written returns the object that a body holds, all of it or what a patch sets; nil for a
// patch that sets nothing of pods.
func written(f *kubeapi.Facts, contentType string, body []byte) (runtime.Object, error) {
	media := runtime.ContentTypeJSON
	if contentType != "" {
		var err error
		if media, _, err = mime.ParseMediaType(contentType); err != nil {
			return nil, errForm
		}
	}
	gvk := schema.GroupVersionKind{Group: f.Group, Version: f.Version, Kind: kinds[f.Resource]}
	if f.Verb != "patch" {
		info, ok := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), media)
		if !ok {
			return nil, errForm
		}
		o, is, err := info.Serializer.Decode(body, &gvk, nil)
		switch {
		case err != nil:
			return nil, errBody
		case *is != gvk:
			return nil, errKind
		}
		return o, nil
	}
	switch types.PatchType(media) {
	case types.JSONPatchType:
		return nil, harmlessPatch(body)
	case types.ApplyYAMLPatchType:
		var err error
		if body, err = yaml.YAMLToJSON(body); err != nil {
			return nil, errBody
		}
	case types.MergePatchType, types.StrategicMergePatchType:
	default:
		return nil, errForm
	}
	info, _ := runtime.SerializerInfoForMediaType(codecs.SupportedMediaTypes(), runtime.ContentTypeJSON)
	o, err := scheme.Scheme.New(gvk)
	if err != nil {
		return nil, errKind
	}
	// What a patch says of its kind changes nothing of what it sets.
	if body, err = withoutKind(body); err != nil {
		return nil, errBody
	}
	if o, _, err = info.Serializer.Decode(body, &gvk, o); err != nil {
		return nil, errBody
	}
	return o, nil
}

func withoutKind(body []byte) ([]byte, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return nil, err
	}
	delete(fields, "kind")
	delete(fields, "apiVersion")
	return json.Marshal(fields)
}

// harmlessPatch refuses a JSON Patch (RFC 6902) that could change more of pods than what
// they run: copied and moved values are not in it.
func harmlessPatch(body []byte) error {
	// A map, for names that differ in letter case are different ones.
	var operations []map[string]json.RawMessage
	if err := json.Unmarshal(body, &operations); err != nil {
		return errBody
	}
	for _, o := range operations {
		var op, path string
		if json.Unmarshal(o["op"], &op) != nil || json.Unmarshal(o["path"], &path) != nil {
			return errBody
		}
		switch op {
		case "test", "remove":
		case "add", "replace":
			if !harmlessPath(path) {
				return errPatch
			}
		default:
			return errPatch
		}
	}
	return nil
}

// harmlessPath reports whether a JSON pointer is to nothing by which a pod reaches out.
func harmlessPath(pointer string) bool {
	if strings.Contains(pointer, "~") {
		// ~0 and ~1 are of keys, as of annotations.
		pointer = strings.NewReplacer("~1", "_", "~0", "_").Replace(pointer)
	}
	parts := strings.Split(pointer, "/")
	if len(parts) < 3 || parts[0] != "" {
		return false
	}
	if parts[1] == "metadata" {
		return true
	}
	at := slices.IndexFunc(parts, func(p string) bool { return p == "containers" || p == "initContainers" })
	if at >= 0 && len(parts) > at+2 {
		return slices.Contains([]string{"args", "command", "env", "envFrom", "image", "imagePullPolicy", "livenessProbe", "readinessProbe", "resources", "startupProbe"}, parts[at+2])
	}
	return parts[1] == "spec" && len(parts) == 3 && slices.Contains([]string{"replicas", "paused", "suspend", "schedule", "parallelism"}, parts[2])
}

// specOf returns what pods are made as.
func specOf(f *kubeapi.Facts, o runtime.Object) (*corev1.PodSpec, error) {
	switch o := o.(type) {
	case *corev1.Pod:
		return &o.Spec, nil
	case *corev1.PodTemplate:
		return &o.Template.Spec, nil
	case *corev1.ReplicationController:
		if o.Spec.Template == nil {
			return &corev1.PodSpec{}, nil
		}
		return &o.Spec.Template.Spec, nil
	case *appsv1.DaemonSet:
		return &o.Spec.Template.Spec, nil
	case *appsv1.Deployment:
		return &o.Spec.Template.Spec, nil
	case *appsv1.ReplicaSet:
		return &o.Spec.Template.Spec, nil
	case *appsv1.StatefulSet:
		return &o.Spec.Template.Spec, nil
	case *batchv1.CronJob:
		return &o.Spec.JobTemplate.Spec.Template.Spec, nil
	case *batchv1.Job:
		return &o.Spec.Template.Spec, nil
	}
	return nil, fmt.Errorf("%w: %s", errKind, f.Named())
}

// capabilities are those that a container may add: those of the Pod Security Standards'
// Baseline.
var capabilities = []corev1.Capability{
	"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
}

// findings are what was found, each once.
type findings []string

func (f *findings) note(is bool, what string) {
	if is && !slices.Contains(*f, what) {
		*f = append(*f, what)
	}
}

// escapesOf names the fields of a pod by which it reaches out of its containers.
func escapesOf(spec *corev1.PodSpec) []string {
	var found findings
	found.note(spec.HostNetwork, "hostNetwork")
	found.note(spec.HostPID, "hostPID")
	found.note(spec.HostIPC, "hostIPC")
	for i := range spec.Volumes {
		found.note(spec.Volumes[i].HostPath != nil, "a hostPath volume")
	}
	if c := spec.SecurityContext; c != nil {
		found.note(isHostProcess(c.WindowsOptions), "a host process")
		found.note(isOther(c.SELinuxOptions), "SELinux options")
		found.note(len(c.Sysctls) > 0, "sysctls")
	}
	for i := range spec.InitContainers {
		found.container(spec.InitContainers[i].SecurityContext)
	}
	for i := range spec.Containers {
		found.container(spec.Containers[i].SecurityContext)
	}
	for i := range spec.EphemeralContainers {
		found.container(spec.EphemeralContainers[i].SecurityContext)
	}
	return found
}

func (f *findings) container(c *corev1.SecurityContext) {
	if c == nil {
		return
	}
	f.note(c.Privileged != nil && *c.Privileged, "a privileged container")
	f.note(c.ProcMount != nil && *c.ProcMount != corev1.DefaultProcMount, "an unmasked /proc")
	f.note(isHostProcess(c.WindowsOptions), "a host process")
	f.note(isOther(c.SELinuxOptions), "SELinux options")
	if c.Capabilities != nil {
		for _, added := range c.Capabilities.Add {
			plain := corev1.Capability(strings.TrimPrefix(strings.ToUpper(string(added)), "CAP_"))
			f.note(!slices.Contains(capabilities, plain), "capability "+string(added))
		}
	}
}

func isHostProcess(o *corev1.WindowsSecurityContextOptions) bool {
	return o != nil && o.HostProcess != nil && *o.HostProcess
}

func isOther(o *corev1.SELinuxOptions) bool { return o != nil && (o.User != "" || o.Role != "") }

// withPods returns the facts with what is known of pods.
func withPods(f *kubeapi.Facts, p *kubeapi.Pods) *kubeapi.Facts {
	with := *f
	with.Pods = p
	return &with
}

// pod asks the API server, as the grant's user, for the pod that a request enters.
func (u *upstream) pod(ctx context.Context, f *kubeapi.Facts) *kubeapi.Pods {
	what := &understood{path: "/api/v1/namespaces/" + f.Namespace + "/pods/" + f.Name}
	ctx, cancel := context.WithTimeout(ctx, u.answer)
	defer cancel()
	answer, err := u.send(ctx, http.MethodGet, what, http.Header{"Accept": {runtime.ContentTypeJSON}}, nil, 0)
	if err != nil {
		return &kubeapi.Pods{Unknown: "the API server cannot be asked for the pod"}
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode != http.StatusOK {
		return &kubeapi.Pods{Unknown: fmt.Sprintf("the API server does not show the pod to the grant's user (status %d)", answer.StatusCode)}
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxPod+1))
	if err != nil || len(body) > maxPod {
		return &kubeapi.Pods{Unknown: "the pod cannot be read"}
	}
	o, is, err := codecs.UniversalDeserializer().Decode(body, nil, nil)
	pod, ok := o.(*corev1.Pod)
	if err != nil || !ok || is.Version != "v1" || pod.Namespace != f.Namespace || pod.Name != f.Name || pod.UID == "" {
		return &kubeapi.Pods{Unknown: "the pod cannot be read"}
	}
	return &kubeapi.Pods{Known: true, UID: string(pod.UID), Escapes: escapesOf(&pod.Spec)}
}
