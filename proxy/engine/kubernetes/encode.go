package kubernetes

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"mime"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/cbor"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"

	kjson "sigs.k8s.io/json"

	"github.com/cardea-dev/cardea/proxy/kubeapi"
	"github.com/cardea-dev/cardea/proxy/masking/objects"
)

// errConversion says that an answer has no form that its client takes.
var errConversion = errors.New("the answer cannot be written in that form")

var (
	protobufs = protobuf.NewSerializer(scheme.Scheme, scheme.Scheme)
	cbors     = cbor.NewSerializer(scheme.Scheme, scheme.Scheme)
)

// encode writes a masked document, which is JSON, in another form.
func encode(doc []byte, form string) ([]byte, error) {
	if form == runtime.ContentTypeYAML {
		return yaml.JSONToYAML(doc)
	}
	o, err := typed(doc)
	if err != nil && form == runtime.ContentTypeCBOR {
		o, err = untyped(doc)
	}
	if err != nil {
		return nil, errConversion
	}
	var out bytes.Buffer
	if form == runtime.ContentTypeProtobuf {
		err = protobufs.Encode(o, &out)
	} else {
		err = cbors.Encode(o, &out)
	}
	if err != nil {
		return nil, errConversion
	}
	return out.Bytes(), nil
}

// typed reads a document of a kind that the gate knows.
func typed(doc []byte) (runtime.Object, error) {
	var is metav1.TypeMeta
	if err := json.Unmarshal(doc, &is); err != nil {
		return nil, err
	}
	gvk := schema.FromAPIVersionAndKind(is.APIVersion, is.Kind)
	var o runtime.Object
	var err error
	switch {
	case gvk.Group == metav1.GroupName && gvk.Kind == "PartialObjectMetadata":
		o = &metav1.PartialObjectMetadata{}
	case gvk.Group == metav1.GroupName && gvk.Kind == "PartialObjectMetadataList":
		o = &metav1.PartialObjectMetadataList{}
	default:
		o, err = scheme.Scheme.New(gvk)
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(doc, o); err != nil {
		return nil, err
	}
	o.GetObjectKind().SetGroupVersionKind(gvk)
	return o, nil
}

func untyped(doc []byte) (runtime.Object, error) {
	o := &unstructured.Unstructured{}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(doc, &o.Object); err != nil {
		return nil, err
	}
	return o, nil
}

// encodeEvent writes an event of a watch, as the stream of its form has it.
func encodeEvent(kind string, doc []byte, form string) ([]byte, error) {
	if form == runtime.ContentTypeJSON {
		event, err := json.Marshal(metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Raw: doc}})
		return append(event, '\n'), err
	}
	object, err := encode(doc, form)
	if err != nil {
		return nil, err
	}
	event := &metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Raw: object}}
	if form == runtime.ContentTypeCBOR {
		var out bytes.Buffer
		if err := cbors.Encode(event, &out); err != nil {
			return nil, errConversion
		}
		return out.Bytes(), nil
	}
	b, err := event.Marshal()
	if err != nil {
		return nil, errConversion
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...), nil //nolint:gosec // an event is bounded
}

// writable reports whether a body may be written to what is masked.
func writable(plan *objects.Plan, f *kubeapi.Facts, contentType string, body []byte) error {
	if f.Verb != "create" && f.Verb != "update" && f.Verb != "patch" {
		return nil
	}
	form := runtime.ContentTypeJSON
	if contentType != "" {
		var err error
		if form, _, err = mime.ParseMediaType(contentType); err != nil {
			return errForm
		}
	}
	if f.Verb == "patch" {
		switch types.PatchType(form) {
		case types.JSONPatchType:
			return patchable(plan, body)
		case types.MergePatchType, types.StrategicMergePatchType:
			form = runtime.ContentTypeJSON
		case types.ApplyYAMLPatchType:
			form = runtime.ContentTypeYAML
		case types.ApplyCBORPatchType:
			form = runtime.ContentTypeCBOR
		default:
			return errForm
		}
	}
	doc, err := document(form, body)
	if err != nil {
		return err
	}
	return plan.Writable(doc)
}

// document decodes a body.
func document(form string, body []byte) (any, error) {
	switch form {
	case runtime.ContentTypeYAML:
		converted, err := yaml.YAMLToJSON(body)
		if err != nil {
			return nil, errBody
		}
		body = converted
	case runtime.ContentTypeJSON:
	case runtime.ContentTypeProtobuf:
		o, _, err := protobufs.Decode(body, nil, nil)
		if err != nil {
			return nil, errBody
		}
		return runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	case runtime.ContentTypeCBOR:
		o := &unstructured.Unstructured{}
		if _, _, err := cbors.Decode(body, nil, o); err != nil {
			return nil, errBody
		}
		return o.Object, nil
	default:
		return nil, errForm
	}
	doc, err := objects.Decode(body)
	if err != nil {
		return nil, errBody
	}
	return doc, nil
}

// patchable reports whether a JSON Patch may be made. What has a field twice means one thing or
// another.
func patchable(plan *objects.Plan, body []byte) error {
	var operations []map[string]any
	if strict, err := kjson.UnmarshalStrict(body, &operations); err != nil || len(strict) > 0 {
		return errBody
	}
	var read []objects.Operation
	for _, o := range operations {
		op, isOp := o["op"].(string)
		path, isPath := o["path"].(string)
		if !isOp || !isPath {
			return fmt.Errorf("%w: an operation has no op or path", errBody)
		}
		read = append(read, objects.Operation{Op: op, Path: path, Value: o["value"]})
	}
	return plan.Patchable(read)
}
