package manifest

import (
	"bufio"
	"bytes"
	"context"
	stdjson "encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/config/crd"
)

// MaxFile is the most that is read of one file, in bytes.
const MaxFile = 8 << 20

// Object is a decoded object.
type Object interface {
	metav1.Object
	runtime.Object
}

// Decoder decodes documents. It is safe for concurrent use.
type Decoder struct {
	kinds map[string]*kind
}

// NewDecoder returns a decoder for the kinds of the product.
func NewDecoder() (*Decoder, error) {
	kinds, err := loadKinds(crd.Bases, v1alpha1.GroupVersion.Version)
	if err != nil {
		return nil, err
	}
	return &Decoder{kinds: kinds}, nil
}

// Document is one document of a file. Object is nil if Err is not, and if the document is
// of a kind that has no meaning here; the identity is known as far as it could be read.
type Document struct {
	File      string
	Index     int // from 1
	Kind      string
	Namespace string
	Name      string
	Object    Object
	Ignored   bool
	Err       error
}

// Where names the document for a sentence.
func (d *Document) Where() string {
	where := d.File
	if d.Index > 1 || d.Kind == "" {
		where = fmt.Sprintf("%s, document %d", where, d.Index)
	}
	if d.Kind == "" {
		return where
	}
	return fmt.Sprintf("%s: %s %s", where, d.Kind, d.Name)
}

// Previous returns the accepted object that another one of the same identity replaces; nil
// if there is none.
type Previous func(kind, namespace, name string) Object

// Decode decodes every document of a file. Errors are in the documents: one wrong
// document says nothing about the others.
func (d *Decoder) Decode(ctx context.Context, file string, content []byte, previous Previous) []Document {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	var docs []Document
	for i := 1; ; i++ {
		raw, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return docs
		}
		doc := Document{File: file, Index: i, Err: err}
		if err != nil {
			return append(docs, doc)
		}
		if empty(raw) {
			continue
		}
		d.decode(ctx, &doc, raw, previous)
		docs = append(docs, doc)
	}
}

func empty(raw []byte) bool {
	for line := range bytes.Lines(raw) {
		line = bytes.TrimSpace(line)
		if len(line) > 0 && line[0] != '#' && !bytes.Equal(line, []byte("---")) {
			return false
		}
	}
	return true
}

func (d *Decoder) decode(ctx context.Context, doc *Document, raw []byte, previous Previous) {
	asJSON, err := yaml.YAMLToJSONStrict(raw)
	if err != nil {
		doc.Err = errors.New(brief(err))
		return
	}
	var head struct {
		metav1.TypeMeta `json:",inline"`
		Metadata        struct {
			Name      string `json:"name"`
			Namespace string `json:"namespace"`
		} `json:"metadata"`
	}
	if err := json.Unmarshal(asJSON, &head); err != nil {
		doc.Err = errors.New("not a Kubernetes object: " + typeError(err, asJSON, &head))
		return
	}
	doc.Kind, doc.Namespace, doc.Name = head.Kind, head.Metadata.Namespace, head.Metadata.Name
	switch {
	case head.Kind == "" || head.APIVersion == "":
		doc.Err = errors.New("apiVersion and kind are required")
	case head.APIVersion == v1alpha1.GroupVersion.String():
		doc.Err = d.custom(ctx, doc, asJSON, previous)
	case head.APIVersion == "v1" && (head.Kind == "Secret" || head.Kind == "ConfigMap"):
		doc.Err = d.core(doc, asJSON)
	default:
		doc.Ignored = true
	}
}

// custom decodes an object of the product's group.
func (d *Decoder) custom(ctx context.Context, doc *Document, asJSON []byte, previous Previous) error {
	k, typed := d.kinds[doc.Kind], NewObject(doc.Kind)
	if k == nil || typed == nil {
		return fmt.Errorf("there is no kind %q in %s", doc.Kind, v1alpha1.GroupVersion)
	}
	if err := strict(asJSON, typed); err != nil {
		return err
	}
	if err := identity(typed); err != nil {
		return err
	}
	var obj, old map[string]any
	if err := json.Unmarshal(asJSON, &obj); err != nil {
		return err
	}
	if k.hasStatus {
		delete(obj, "status")
	}
	if previous != nil {
		if o := previous(doc.Kind, doc.Namespace, doc.Name); o != nil {
			var err error
			if old, err = runtime.DefaultUnstructuredConverter.ToUnstructured(o); err != nil {
				return err
			}
		}
	}
	if errs := k.admit(ctx, obj, old); len(errs) > 0 {
		return sentence(errs)
	}
	typed = NewObject(doc.Kind)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj, typed); err != nil {
		return err
	}
	doc.Object = typed
	return nil
}

// Validate validates a whole object, its status included, that replaces old.
func (d *Decoder) Validate(ctx context.Context, content []byte, into, old Object) error {
	asJSON, err := yaml.YAMLToJSONStrict(content)
	if err != nil {
		return errors.New(brief(err))
	}
	if err := strict(asJSON, into); err != nil {
		return err
	}
	k := d.kinds[into.GetObjectKind().GroupVersionKind().Kind]
	if k == nil || into.GetObjectKind().GroupVersionKind().GroupVersion() != v1alpha1.GroupVersion {
		return errors.New("apiVersion and kind must stay as they were")
	}
	var obj map[string]any
	if err := json.Unmarshal(asJSON, &obj); err != nil {
		return err
	}
	before, err := runtime.DefaultUnstructuredConverter.ToUnstructured(old)
	if err != nil {
		return err
	}
	if errs := k.admit(ctx, obj, before); len(errs) > 0 {
		return sentence(errs)
	}
	return nil
}

func (d *Decoder) core(doc *Document, asJSON []byte) error {
	var obj Object = new(corev1.ConfigMap)
	secret, isSecret := new(corev1.Secret), doc.Kind == "Secret"
	if isSecret {
		obj = secret
	}
	if err := strict(asJSON, obj); err != nil {
		return err
	}
	if err := identity(obj); err != nil {
		return err
	}
	if isSecret && len(secret.StringData) > 0 {
		if secret.Data == nil {
			secret.Data = map[string][]byte{}
		}
		for k, v := range secret.StringData {
			secret.Data[k] = []byte(v)
		}
		secret.StringData = nil
	}
	doc.Object = obj
	return nil
}

func identity(o Object) error {
	if o.GetNamespace() == "" {
		return errors.New("metadata.namespace is required")
	}
	meta := &metav1.ObjectMeta{Name: o.GetName(), Namespace: o.GetNamespace(), Labels: o.GetLabels(), Annotations: o.GetAnnotations()}
	return sentence(apivalidation.ValidateObjectMeta(meta, true, apivalidation.NameIsDNSSubdomain, field.NewPath("metadata")))
}

// strict decodes and refuses unknown and repeated fields. Its errors name fields and never
// hold a value: a Secret passes here too.
func strict(asJSON []byte, into any) error {
	problems, err := kjson.UnmarshalStrict(asJSON, into)
	if err != nil {
		return errors.New("a field has a value of the wrong type: " + typeError(err, asJSON, into))
	}
	if len(problems) > 0 {
		return problems[0]
	}
	return nil
}

// typeError returns what may be shown of a decoding error: everything but the value.
func typeError(err error, asJSON []byte, into any) string {
	var typed *stdjson.UnmarshalTypeError
	if errors.As(err, &typed) {
		return fmt.Sprintf("%s needs a %s", typed.Field, typed.Type)
	}
	if s := misread(asJSON, into); s != "" {
		return s
	}
	return "it cannot be decoded"
}

func sentence(errs field.ErrorList) error {
	if len(errs) == 0 {
		return nil
	}
	const most = 3
	var all []string
	for i, e := range errs {
		if i == most {
			all = append(all, fmt.Sprintf("and %d more", len(errs)-most))
			break
		}
		all = append(all, e.Error())
	}
	return errors.New(strings.Join(all, "; "))
}

// brief keeps the first two lines of a YAML error: they name lines and keys.
func brief(err error) string {
	lines := strings.SplitN(err.Error(), "\n", 3)
	return strings.Join(lines[:min(2, len(lines))], "")
}

// NewObject returns a new object of a kind of the product; nil if there is no such kind.
func NewObject(kind string) Object {
	switch kind {
	case "Target":
		return new(v1alpha1.Target)
	case "AccessGrant":
		return new(v1alpha1.AccessGrant)
	case "MaskingRule":
		return new(v1alpha1.MaskingRule)
	case "CommandRule":
		return new(v1alpha1.CommandRule)
	case "RecordingStore":
		return new(v1alpha1.RecordingStore)
	case "AccessPolicy":
		return new(v1alpha1.AccessPolicy)
	case "AccessLock":
		return new(v1alpha1.AccessLock)
	case "ApprovalRequest":
		return new(v1alpha1.ApprovalRequest)
	case "Session":
		return new(v1alpha1.Session)
	}
	return nil
}
