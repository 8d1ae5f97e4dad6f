package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"
	kjson "sigs.k8s.io/json"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/policy"
)

// settle is how long a change waits for others before a new snapshot is compiled.
const settle = 3 * time.Millisecond

// object is an object of the product.
type object interface {
	metav1.Object
	runtime.Object
}

// source is one kind in one namespace.
type source struct {
	kind      string
	resource  schema.GroupVersionResource
	namespace string
	make      func() object
	informer  cache.SharedIndexInformer

	mu      sync.Mutex
	decoded map[types.UID]decoded
	// fuller are objects that a list showed with other content than the watch, at the same
	// version: see proofOf.
	fuller map[types.UID]*unstructured.Unstructured
}

// decoded is the outcome of decoding one version of an object.
type decoded struct {
	version string
	object  object
	err     error
}

// versions are the resource versions of objects.
type versions map[types.UID]string

func (b *Backend) newSources() []*source {
	gate, root := b.c.Namespace, b.c.RootNamespace
	all := []*source{
		{kind: "Target", namespace: gate, make: func() object { return new(v1alpha1.Target) }},
		{kind: "AccessGrant", namespace: gate, make: func() object { return new(v1alpha1.AccessGrant) }},
		{kind: "RecordingStore", namespace: gate, make: func() object { return new(v1alpha1.RecordingStore) }},
		{kind: "ApprovalRequest", namespace: gate, make: func() object { return new(v1alpha1.ApprovalRequest) }},
		{kind: "Session", namespace: gate, make: func() object { return new(v1alpha1.Session) }},
	}
	namespaces := []string{gate}
	if root != gate {
		namespaces = append(namespaces, root)
	}
	for _, ns := range namespaces {
		all = append(all,
			&source{kind: "MaskingRule", namespace: ns, make: func() object { return new(v1alpha1.MaskingRule) }},
			&source{kind: "CommandRule", namespace: ns, make: func() object { return new(v1alpha1.CommandRule) }},
			&source{kind: "AccessLock", namespace: ns, make: func() object { return new(v1alpha1.AccessLock) }},
			&source{kind: "AccessPolicy", namespace: ns, make: func() object { return new(v1alpha1.AccessPolicy) }})
	}
	for _, s := range all {
		s.resource = resourceOf(s.kind)
		s.decoded = map[types.UID]decoded{}
		s.informer = dynamicinformer.NewFilteredDynamicInformer(b.dynamic, s.resource, s.namespace, 0, cache.Indexers{}, nil).Informer()
		_ = s.informer.SetTransform(withoutManagedFields) // fails only once it runs
		_ = s.informer.SetWatchErrorHandlerWithContext(func(ctx context.Context, r *cache.Reflector, err error) {
			b.c.Log.Info("Watch interrupted; it is tried again", "kind", s.kind, "namespace", s.namespace, "reason", err.Error())
		})
		_, _ = s.informer.AddEventHandler(b.handler(s)) // fails only once it has stopped
	}
	return all
}

func resourceOf(kind string) schema.GroupVersionResource {
	gvr, _ := meta.UnsafeGuessKindToResource(v1alpha1.GroupVersion.WithKind(kind))
	return gvr
}

// withoutManagedFields drops what is large and says nothing here.
func withoutManagedFields(o any) (any, error) {
	if u, ok := o.(*unstructured.Unstructured); ok {
		u.SetManagedFields(nil)
	}
	return o, nil
}

// handler says what an event means.
func (b *Backend) handler(s *source) cache.ResourceEventHandler {
	switch s.kind {
	case "ApprovalRequest":
		return always(b.changes.announce)
	case "Session":
		// Sessions change often, by this proxy itself. Of them only the wish to end one counts.
		return cache.ResourceEventHandlerFuncs{
			AddFunc: func(o any) {
				if terminates(o) {
					b.changed()
				}
			},
			UpdateFunc: func(old, o any) {
				if terminates(o) != terminates(old) {
					b.changed()
				}
			},
			DeleteFunc: func(o any) { b.changed() },
		}
	}
	return always(b.changed)
}

func always(f func()) cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{AddFunc: func(any) { f() }, UpdateFunc: func(any, any) { f() }, DeleteFunc: func(any) { f() }}
}

// terminates reports whether a Session is to end. What is not understood is.
func terminates(o any) bool {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return true
	}
	state, _, err := unstructured.NestedString(u.Object, "spec", "desiredState")
	return err != nil || state != string(v1alpha1.SessionActive)
}

// changed has a new snapshot compiled.
func (b *Backend) changed() {
	select {
	case b.dirty <- struct{}{}:
	default:
	}
}

func (s *source) synced(ctx context.Context) bool {
	return cache.WaitForCacheSync(ctx.Done(), s.informer.HasSynced)
}

// list returns the decoded objects, those that could not be decoded, and the versions of
// both.
func (s *source) list() (objects []object, bad []policy.Undecodable, vs versions) {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := s.informer.GetStore().List()
	vs = make(versions, len(items))
	next := make(map[types.UID]decoded, len(items))
	for _, item := range items {
		u, ok := item.(*unstructured.Unstructured)
		if !ok {
			bad = append(bad, policy.Undecodable{Kind: s.kind, Namespace: s.namespace, Err: fmt.Errorf("%T is not an object", item)})
			continue
		}
		uid, version := u.GetUID(), u.GetResourceVersion()
		if f := s.fuller[uid]; f != nil && f.GetResourceVersion() == version {
			u = f
		} else {
			delete(s.fuller, uid)
		}
		vs[uid] = version
		d, ok := s.decoded[uid]
		if !ok || d.version != version {
			d = decoded{version: version, object: s.make()}
			d.err = decode(u, d.object)
		}
		next[uid] = d
		if d.err != nil {
			bad = append(bad, policy.Undecodable{Kind: s.kind, Namespace: u.GetNamespace(), Name: u.GetName(), Err: d.err})
			continue
		}
		objects = append(objects, d.object)
	}
	s.decoded = next
	return objects, bad, vs
}

// compare takes note of a listed object, and reports whether it is what list returned at
// the same version.
func (s *source) compare(listed *unstructured.Unstructured) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	held, ok, err := s.informer.GetStore().GetByKey(listed.GetNamespace() + "/" + listed.GetName())
	u, is := held.(*unstructured.Unstructured)
	if err != nil || !ok || !is || u.GetUID() != listed.GetUID() || u.GetResourceVersion() != listed.GetResourceVersion() {
		return true // another version: the versions are compared elsewhere
	}
	if f := s.fuller[u.GetUID()]; f != nil && f.GetResourceVersion() == u.GetResourceVersion() {
		u = f
	}
	if reflect.DeepEqual(u.Object, listed.Object) {
		return true
	}
	if s.fuller == nil {
		s.fuller = map[types.UID]*unstructured.Unstructured{}
	}
	s.fuller[listed.GetUID()] = listed
	delete(s.decoded, listed.GetUID())
	return false
}

// decode decodes strictly: a field that this version does not know is an error.
func decode(u *unstructured.Unstructured, into object) error {
	b, err := json.Marshal(u.Object)
	if err != nil {
		return err
	}
	problems, err := kjson.UnmarshalStrict(b, into)
	if err != nil {
		return err
	}
	if len(problems) > 0 {
		return problems[0]
	}
	return nil
}

// compile publishes a snapshot of what the watches have told.
func (b *Backend) compile() {
	in := policy.Input{Namespace: b.c.Namespace, RootNamespace: b.c.RootNamespace, Secret: b.certs.redactKey}
	made := map[*source]versions{}
	for _, s := range b.sources {
		if s.kind == "ApprovalRequest" {
			continue // they are no policy
		}
		objects, bad, vs := s.list()
		made[s] = vs
		in.Undecodable = append(in.Undecodable, bad...)
		for _, o := range objects {
			if s, ok := o.(*v1alpha1.Session); !ok {
				in.Add(o)
			} else if s.Spec.DesiredState != v1alpha1.SessionActive {
				in.Terminated = append(in.Terminated, s.Name)
			}
		}
	}
	b.complain(in.Undecodable)
	snapshot := policy.Compile(in)
	b.mu.Lock()
	b.snapshot.Store(snapshot)
	b.compiled = made
	b.mu.Unlock()
	b.changes.announce()
}

// complain logs what was not logged before.
func (b *Backend) complain(bad []policy.Undecodable) {
	now := map[string]bool{}
	for _, u := range bad {
		said := fmt.Sprintf("%s/%s/%s: %v", u.Kind, u.Namespace, u.Name, u.Err)
		if now[said] = true; !b.complained[said] {
			b.c.Log.Error(u.Err, "An object is not understood and shuts what it governs", "kind", u.Kind, "namespace", u.Namespace, "name", u.Name)
		}
	}
	b.complained = now
}
