// Package configmap keeps recordings in immutable ConfigMaps of a gate namespace, one for
// each segment.
//
// The proxy may create ConfigMaps with the prefix cardea-rec- and do nothing else with them,
// so it cannot see what a taken name holds. A segment is created as
// cardea-rec-SESSION-NNNNNN; if that name is taken, by an attempt whose answer was lost or by
// somebody who wants to be in the way, it is created as cardea-rec-SESSION-DIGEST-NNNNNN with
// the first 16 digits of its digest. A name with its own digest can be taken by the segment
// itself alone, or by somebody who knew the content before it was stored; then the reader
// finds that. Nothing is ever replaced, and nobody keeps a segment from being stored.
package configmap

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/recording"
)

const (
	// AnnotationBytes holds the size of the compressed content in bytes, for counting
	// recordings without reading them.
	AnnotationBytes = "access.cardea.dev/bytes"
	// KeySegment of binaryData holds the content.
	KeySegment = "segment"
	// KeySeal of data holds the segment's seal.
	KeySeal = "seal"
)

// Store keeps segments in one namespace. It is safe for concurrent use.
type Store struct {
	client    rest.Interface
	namespace string

	mu                     sync.Mutex
	limit, counted, stored int64 // stored since the count
}

// New returns a Store. The client is one for the core group, as
// kubernetes.Interface.CoreV1().RESTClient() returns; it needs the verb create alone.
func New(client rest.Interface, namespace string) *Store {
	return &Store{client: client, namespace: namespace}
}

// Limit says how many bytes recordings may take in the namespace, and how many were counted
// last. What is put after that is added to the count. Sessions are admitted up to the limit;
// what those that are open still have to say may take an eighth more, and beyond that Put
// returns recording.ErrFull. Without a limit there is no bound.
func (s *Store) Limit(limit, counted int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if counted != s.counted {
		s.counted, s.stored = counted, 0
	}
	s.limit = limit
}

// take adds n bytes to what is stored if the limit has room for them.
func (s *Store) take(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.limit > 0 && s.counted+s.stored+n > s.limit+s.limit/8 {
		return false
	}
	s.stored += n
	return true
}

// give takes back what was not stored.
func (s *Store) give(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored = max(0, s.stored-n)
}

// Name is the usual name of a segment's ConfigMap.
func Name(session string, index int) string {
	return fmt.Sprintf("%s%s-%06d", v1alpha1.RecordingPrefix, session, index)
}

// Put implements recording.Store. A limit or a quota that is used up is recording.ErrFull.
func (s *Store) Put(ctx context.Context, seg recording.Segment) error {
	if !recording.ValidSession(seg.Session) || seg.Index < 0 || seg.Index >= recording.MaxSegments || len(seg.Digest) != 64 {
		return fmt.Errorf("store segment: %q, segment %d is not a segment of a session", seg.Session, seg.Index)
	}
	if len(seg.Data) > recording.MaxSegmentData {
		return fmt.Errorf("store segment %d of %s: its %d bytes are more than a ConfigMap holds", seg.Index, seg.Session, len(seg.Data))
	}
	size := int64(len(seg.Data))
	if !s.take(size) {
		return fmt.Errorf("%w: recordings take the bytes that the RecordingStore allows in namespace %s", recording.ErrFull, s.namespace)
	}
	name := Name(seg.Session, seg.Index)
	err := s.create(ctx, name, seg)
	if apierrors.IsAlreadyExists(err) {
		name = Name(seg.Session+"-"+seg.Digest[:16], seg.Index)
		if err = s.create(ctx, name, seg); apierrors.IsAlreadyExists(err) {
			s.give(size)
			return nil
		}
	}
	if err == nil {
		return nil
	}
	s.give(size)
	if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota") {
		return fmt.Errorf("%w: create ConfigMap %s: %w", recording.ErrFull, name, err)
	}
	return fmt.Errorf("create ConfigMap %s: %w", name, err)
}

func (s *Store) create(ctx context.Context, name string, seg recording.Segment) error {
	seal, err := seg.Seal()
	if err != nil {
		return err
	}
	cm := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name:      name,
			Namespace: s.namespace,
			Labels: map[string]string{
				v1alpha1.LabelSession: seg.Session,
				v1alpha1.LabelSegment: strconv.Itoa(seg.Index),
				v1alpha1.LabelGrant:   seg.Grant,
			},
			Annotations: map[string]string{AnnotationBytes: strconv.Itoa(len(seg.Data))},
		},
		Immutable:  new(true),
		Data:       map[string]string{KeySeal: string(seal)},
		BinaryData: map[string][]byte{KeySegment: seg.Data},
	}
	return s.client.Post().
		Namespace(s.namespace).Resource("configmaps").
		VersionedParams(&metav1.CreateOptions{FieldManager: v1alpha1.ProxyName}, scheme.ParameterCodec).
		MaxRetries(0). // the spool tries again
		Body(cm).Do(ctx).Error()
}

// Source reads recordings of one namespace. It needs the verbs list and get.
type Source struct {
	client    rest.Interface
	namespace string
}

// NewSource returns a Source; for the client see New.
func NewSource(client rest.Interface, namespace string) *Source {
	return &Source{client: client, namespace: namespace}
}

// List implements recording.Source.
func (s *Source) List(ctx context.Context, session string) ([]recording.Ref, error) {
	var refs []recording.Ref
	options := metav1.ListOptions{LabelSelector: v1alpha1.LabelSession + "=" + session, Limit: 500}
	for {
		// Metadata alone: the contents of a recording may not fit into memory.
		list := &metav1.PartialObjectMetadataList{}
		err := s.client.Get().Namespace(s.namespace).Resource("configmaps").
			VersionedParams(&options, scheme.ParameterCodec).
			SetHeader("Accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").
			Do(ctx).Into(list)
		if err != nil {
			return nil, err
		}
		for _, o := range list.Items {
			ref, ok := refOf(&o, session)
			if !ok {
				continue
			}
			if len(refs) >= 2*recording.MaxSegments {
				return nil, fmt.Errorf("session %s has too many ConfigMaps", session)
			}
			refs = append(refs, ref)
		}
		if list.Continue == "" {
			return refs, nil
		}
		options.Continue = list.Continue
	}
}

// Sessions returns the names of the sessions of which there is a recording, sorted.
func (s *Source) Sessions(ctx context.Context) ([]string, error) {
	names := map[string]struct{}{}
	options := metav1.ListOptions{LabelSelector: v1alpha1.LabelSession, Limit: 500}
	for {
		list := &metav1.PartialObjectMetadataList{}
		err := s.client.Get().Namespace(s.namespace).Resource("configmaps").
			VersionedParams(&options, scheme.ParameterCodec).
			SetHeader("Accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io").
			Do(ctx).Into(list)
		if err != nil {
			return nil, err
		}
		for _, o := range list.Items {
			session := o.Labels[v1alpha1.LabelSession]
			if _, ok := refOf(&o, session); ok && recording.ValidSession(session) {
				names[session] = struct{}{}
			}
		}
		if list.Continue == "" {
			return slices.Sorted(maps.Keys(names)), nil
		}
		options.Continue = list.Continue
	}
}

// numbered is what follows the session in a name.
var numbered = regexp.MustCompile(`^-(?:[0-9a-f]{16}-)?([0-9]{6})$`)

// refOf takes the index from the name, which cannot be changed.
func refOf(o *metav1.PartialObjectMetadata, session string) (recording.Ref, bool) {
	m := numbered.FindStringSubmatch(strings.TrimPrefix(o.Name, v1alpha1.RecordingPrefix+session))
	if m == nil {
		return recording.Ref{}, false
	}
	index, err := strconv.Atoi(m[1])
	return recording.Ref{Index: index, Name: o.Name}, err == nil
}

// Get implements recording.Source.
func (s *Source) Get(ctx context.Context, _ string, ref recording.Ref) (recording.Segment, error) {
	cm := &corev1.ConfigMap{}
	err := s.client.Get().Namespace(s.namespace).Resource("configmaps").Name(ref.Name).Do(ctx).Into(cm)
	if err != nil {
		return recording.Segment{}, err
	}
	return decode(cm)
}

func decode(cm *corev1.ConfigMap) (recording.Segment, error) {
	seg, err := recording.ParseSeal([]byte(cm.Data[KeySeal]))
	if err != nil {
		return recording.Segment{}, err
	}
	seg.Grant, seg.Data = cm.Labels[v1alpha1.LabelGrant], cm.BinaryData[KeySegment]
	return seg, nil
}
