package kube

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

func (b *Backend) resource(kind string) dynamic.ResourceInterface {
	return b.dynamic.Resource(resourceOf(kind)).Namespace(b.c.Namespace)
}

// encode returns o for the API server.
func encode(o runtime.Object, kind string) (*unstructured.Unstructured, error) {
	m, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: m}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	return u, nil
}

func request(u *unstructured.Unstructured, err error) (*v1alpha1.ApprovalRequest, error) {
	if err != nil {
		return nil, err
	}
	r := new(v1alpha1.ApprovalRequest)
	if err := decode(u, r); err != nil {
		return nil, err
	}
	return r, nil
}

// Create implements approval.Requests.
func (b *Backend) Create(ctx context.Context, r *v1alpha1.ApprovalRequest) (*v1alpha1.ApprovalRequest, error) {
	u, err := encode(r, "ApprovalRequest")
	if err != nil {
		return nil, err
	}
	unstructured.RemoveNestedField(u.Object, "status")
	u.SetNamespace(b.c.Namespace)
	return request(b.resource("ApprovalRequest").Create(ctx, u, metav1.CreateOptions{FieldManager: v1alpha1.ProxyName}))
}

// Get implements approval.Requests: it asks the API server.
func (b *Backend) Get(ctx context.Context, name string) (*v1alpha1.ApprovalRequest, error) {
	return request(b.resource("ApprovalRequest").Get(ctx, name, metav1.GetOptions{}))
}

// List implements approval.Requests, from what the watch has told. A request that cannot be
// decoded is left out: it is not good for any command.
func (b *Backend) List(_ context.Context, grantUID string) ([]*v1alpha1.ApprovalRequest, error) {
	var out []*v1alpha1.ApprovalRequest
	for _, s := range b.sources {
		if s.kind != "ApprovalRequest" {
			continue
		}
		objects, _, _ := s.list()
		for _, o := range objects {
			if r, ok := o.(*v1alpha1.ApprovalRequest); ok && string(r.Spec.GrantRef.UID) == grantUID {
				out = append(out, r.DeepCopy())
			}
		}
	}
	return out, nil
}

// UpdateStatus implements approval.Requests.
func (b *Backend) UpdateStatus(ctx context.Context, r *v1alpha1.ApprovalRequest) error {
	u, err := encode(r, "ApprovalRequest")
	if err != nil {
		return err
	}
	_, err = b.resource("ApprovalRequest").UpdateStatus(ctx, u, metav1.UpdateOptions{FieldManager: v1alpha1.ProxyName})
	return err
}
