package recordingstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/cardea-dev/cardea/api/v1alpha1"
)

// annotationBytes is where the writer of a segment notes its size.
const annotationBytes = "access.cardea.dev/bytes"

// recording is what is known of one recording without reading it.
type recording struct {
	session  string
	store    string // empty for none, or if the Session is gone
	open     bool   // its session has not ended, or more is to come
	held     bool   // its Session is under legal hold
	ended    time.Time
	bytes    int64
	segments []*metav1.PartialObjectMetadata
}

// recordings returns the recordings of a namespace by session. Where the Session is gone
// already, the newest segment tells when it ended.
func recordings(ctx context.Context, c client.Reader, namespace string) (map[string]*recording, error) {
	segments := &metav1.PartialObjectMetadataList{}
	segments.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("ConfigMapList"))
	err := c.List(ctx, segments, client.InNamespace(namespace), client.HasLabels{v1alpha1.LabelSession}, client.UnsafeDisableDeepCopy)
	if err != nil {
		return nil, fmt.Errorf("list recordings: %w", err)
	}
	var sessions v1alpha1.SessionList
	if err := c.List(ctx, &sessions, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("list Sessions: %w", err)
	}
	out := map[string]*recording{}
	for i := range segments.Items {
		s := &segments.Items[i]
		if !strings.HasPrefix(s.Name, v1alpha1.RecordingPrefix) {
			continue
		}
		name := s.Labels[v1alpha1.LabelSession]
		if out[name] == nil {
			out[name] = &recording{session: name}
		}
		out[name].add(s)
	}
	for i := range sessions.Items {
		s := &sessions.Items[i]
		if rec := out[s.Name]; rec != nil {
			rec.store = s.Status.Recording.Store
			_, rec.held = s.Labels[v1alpha1.LabelLegalHold]
			rec.open = s.Status.EndedAt == nil || s.Status.Recording.State == v1alpha1.RecordingOpen
			if s.Status.EndedAt != nil {
				rec.ended = s.Status.EndedAt.Time
			}
		}
	}
	return out, nil
}

func (r *recording) add(segment *metav1.PartialObjectMetadata) {
	r.segments = append(r.segments, segment)
	// A size that cannot be read counts as a whole segment: rather full too early.
	size, err := strconv.ParseInt(segment.Annotations[annotationBytes], 10, 64)
	if err != nil || size < 0 {
		size = 1 << 20
	}
	r.bytes += size
	if t := segment.CreationTimestamp.Time; t.After(r.ended) {
		r.ended = t
	}
}
