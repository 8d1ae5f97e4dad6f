package webhooks

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// lookupTimeout bounds what an advice may cost the author of a grant.
const lookupTimeout = 500 * time.Millisecond

// grantStamper stamps the creator on a new AccessGrant.
type grantStamper struct{}

// Handle answers with a patch that adds the creator's annotation.
func (grantStamper) Handle(_ context.Context, req admission.Request) admission.Response {
	var grant unstructured.Unstructured
	if err := json.Unmarshal(req.Object.Raw, &grant.Object); err != nil {
		return admission.Errored(http.StatusBadRequest, fmt.Errorf("decode AccessGrant: %w", err))
	}
	if !StampCreator(&grant, req.UserInfo.Username) {
		return admission.Allowed("")
	}
	stamped, err := json.Marshal(grant.Object)
	if err != nil {
		return admission.Errored(http.StatusInternalServerError, fmt.Errorf("encode AccessGrant: %w", err))
	}
	return admission.PatchResponseFromRaw(req.Object.Raw, stamped)
}

// StampCreator annotates grant with the user that creates it and reports whether it changed
// anything. An annotation that is there already is left for the admission policy to judge:
// overwriting it would let a manifest and the cluster disagree for good.
func StampCreator(grant *unstructured.Unstructured, user string) bool {
	annotations := grant.GetAnnotations()
	if _, ok := annotations[v1alpha1.AnnotationCreatedBy]; ok {
		return false
	}
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationCreatedBy] = user
	grant.SetAnnotations(annotations)
	return true
}

// grantAdviser warns the author of a new AccessGrant of what will keep it shut, and refuses
// what AccessPolicies do not admit. It refuses nothing for want of another object: those
// arrive in any order.
type grantAdviser struct {
	reader client.Reader
	root   string
}

// ValidateCreate looks the grant's references up. A look-up that fails gives no advice, and
// refuses nothing: the operator and the proxy judge the grant again.
func (a grantAdviser) ValidateCreate(ctx context.Context, g *v1alpha1.AccessGrant) (admission.Warnings, error) {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()

	var warnings admission.Warnings
	var target v1alpha1.Target
	err := a.reader.Get(ctx, types.NamespacedName{Namespace: g.Namespace, Name: g.Spec.TargetRef.Name}, &target)
	switch {
	case apierrors.IsNotFound(err):
		warnings = append(warnings, AdviseTarget(g, nil)...)
	case err == nil:
		warnings = append(warnings, AdviseTarget(g, &target)...)
		in, err := a.policies(ctx, g.Namespace)
		if err != nil {
			break
		}
		if errs := ValidateGrant(in, g, &target); len(errs) > 0 {
			return warnings, apierrors.NewInvalid(v1alpha1.GroupVersion.WithKind("AccessGrant").GroupKind(), g.Name, errs)
		}
	}

	if g.Spec.Subject.Kind != v1alpha1.SubjectServiceAccount {
		return warnings, nil
	}
	// Metadata alone, as the operator's reconcilers read it: one cache for both.
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	err = a.reader.Get(ctx, types.NamespacedName{Name: g.Spec.Subject.Namespace}, namespace)
	switch {
	case apierrors.IsNotFound(err):
		warnings = append(warnings, AdviseNamespace(g, nil)...)
	case err == nil:
		warnings = append(warnings, AdviseNamespace(g, namespace)...)
	}
	return warnings, nil
}

// policies reads what grants of a gate namespace are judged by.
func (a grantAdviser) policies(ctx context.Context, namespace string) (policy.Input, error) {
	in := policy.Input{Namespace: namespace, RootNamespace: a.root}
	for _, ns := range []string{namespace, a.root} {
		var list v1alpha1.AccessPolicyList
		if err := a.reader.List(ctx, &list, client.InNamespace(ns)); err != nil {
			return in, fmt.Errorf("list AccessPolicies: %w", err)
		}
		for i := range list.Items {
			in.AccessPolicies = append(in.AccessPolicies, &list.Items[i])
		}
		if namespace == a.root {
			break
		}
	}
	return in, nil
}

// ValidateGrant says why AccessPolicies do not admit g to target, in a sentence for each
// reason.
func ValidateGrant(in policy.Input, g *v1alpha1.AccessGrant, target *v1alpha1.Target) field.ErrorList {
	var errs field.ErrorList
	_, violations := policy.JudgeGrant(in, g, target)
	for _, v := range violations {
		errs = append(errs, field.Forbidden(field.NewPath("spec"), v.Message))
	}
	return errs
}

// ValidateUpdate is never called: no webhook matches updates of AccessGrant.
func (grantAdviser) ValidateUpdate(context.Context, *v1alpha1.AccessGrant, *v1alpha1.AccessGrant) (admission.Warnings, error) {
	return nil, nil
}

// ValidateDelete is never called.
func (grantAdviser) ValidateDelete(context.Context, *v1alpha1.AccessGrant) (admission.Warnings, error) {
	return nil, nil
}

// AdviseTarget says what keeps g from opening target; nil is a Target that does not exist.
func AdviseTarget(g *v1alpha1.AccessGrant, target *v1alpha1.Target) []string {
	if target == nil {
		return []string{fmt.Sprintf("spec.targetRef.name: there is no Target %q in namespace %q; the grant stays shut until there is",
			g.Spec.TargetRef.Name, g.Namespace)}
	}
	for _, b := range []struct {
		block, kind string
		lacks       bool
	}{
		{"postgres", "a PostgreSQL server", target.Spec.Postgres != nil && g.Spec.Postgres == nil},
		{"kubernetes", "a Kubernetes API server", target.Spec.Kubernetes != nil && g.Spec.Kubernetes == nil},
		{"ssh", "an SSH server", target.Spec.SSH != nil && g.Spec.SSH == nil},
	} {
		if b.lacks {
			return []string{fmt.Sprintf("spec.%s: Target %q is %s; a grant without the block permits nothing", b.block, target.Name, b.kind)}
		}
	}
	return nil
}

// AdviseNamespace says what keeps g's credential from being delivered into namespace, the
// subject's; nil is a Namespace that does not exist.
func AdviseNamespace(g *v1alpha1.AccessGrant, namespace metav1.Object) []string {
	name := g.Spec.Subject.Namespace
	if namespace == nil {
		return []string{fmt.Sprintf("spec.subject.namespace: there is no Namespace %q; the credential is delivered once there is", name)}
	}
	if name == g.Namespace || namespace.GetLabels()[v1alpha1.LabelAcceptFrom] == g.Namespace {
		return nil
	}
	return []string{fmt.Sprintf("spec.subject.namespace: Namespace %q does not accept credentials from here; its owner must label it: kubectl label namespace %s %s=%s",
		name, name, v1alpha1.LabelAcceptFrom, g.Namespace)}
}
