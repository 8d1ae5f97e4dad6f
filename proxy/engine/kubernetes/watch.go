package kubernetes

import (
	"encoding/binary"
	"encoding/json"
	"mime"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// protobufMagic begins every object that is encoded as protobuf.
var protobufMagic = []byte{'k', '8', 's', 0}

// lastEvent returns the event that ends a watch and says why, as its content type wants it;
// nil where the watch stands inside of an event, or has a form that is not known.
func (p *passage) lastEvent(contentType string, cause error) []byte {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil
	}
	var event []byte
	switch {
	case media == runtime.ContentTypeJSON && (p.bytes == 0 || p.last == '\n'):
		event, err = jsonEvent(statusOf(cause))
	case media == runtime.ContentTypeProtobuf && p.frames.atBorder():
		event, err = protobufEvent(statusOf(cause))
	}
	if err != nil {
		return nil
	}
	return event
}

func jsonEvent(s *metav1.Status) ([]byte, error) {
	raw, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	event, err := json.Marshal(metav1.WatchEvent{Type: "ERROR", Object: runtime.RawExtension{Raw: raw}})
	return append(event, '\n'), err
}

// protobufEvent returns a frame of a watch in protobuf: its length, then the event, whose
// object is enveloped as every object is.
func protobufEvent(s *metav1.Status) ([]byte, error) {
	raw, err := s.Marshal()
	if err != nil {
		return nil, err
	}
	unknown := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "Status"}, Raw: raw}
	object, err := unknown.Marshal()
	if err != nil {
		return nil, err
	}
	event := metav1.WatchEvent{Type: "ERROR", Object: runtime.RawExtension{Raw: append(protobufMagic[:len(protobufMagic):len(protobufMagic)], object...)}}
	b, err := event.Marshal()
	if err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...), nil //nolint:gosec // a Status is short
}

// frames follows the borders of frames that begin with their length in four bytes.
type frames struct {
	header [4]byte
	read   int    // bytes of the header
	left   uint32 // bytes of the frame after it
}

func (f *frames) atBorder() bool { return f.read == 0 && f.left == 0 }

// advance goes over the next bytes, cut anywhere.
func (f *frames) advance(b []byte) {
	for len(b) > 0 {
		if f.left > 0 {
			n := min(uint64(f.left), uint64(len(b)))
			b, f.left = b[n:], f.left-uint32(n) //nolint:gosec // n is at most left
			continue
		}
		n := copy(f.header[f.read:], b)
		b, f.read = b[n:], f.read+n
		if f.read == len(f.header) {
			f.left, f.read = binary.BigEndian.Uint32(f.header[:]), 0
		}
	}
}
