package files

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/cardea-dev/cardea/api/v1alpha1"
	"github.com/cardea-dev/cardea/proxy/backend/files/manifest"
	"github.com/cardea-dev/cardea/proxy/policy"
	"github.com/cardea-dev/cardea/proxy/recording"
)

// RootNamespace is the namespace whose rules, policies and locks govern every gate.
const RootNamespace = "cardea-system"

const maxFiles = 4096

// world is what a folder says.
type world struct {
	input      policy.Input
	secrets    map[string]*corev1.Secret // by name
	configMaps map[string]*corev1.ConfigMap
	wrong      []string // sentences
	ignored    []string
}

// parsed is a file that was decoded without an error.
type parsed struct {
	sum  [sha256.Size]byte
	docs []manifest.Document
}

// sources returns the manifests of the folder. An error means that the folder itself could
// not be read; a file that cannot is one wrong document.
func (b *Backend) sources(ctx context.Context) ([]manifest.Document, error) {
	entries, err := os.ReadDir(b.c.Dir)
	if err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	}
	var docs []manifest.Document
	seen := map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		if ext := filepath.Ext(name); e.IsDir() || strings.HasPrefix(name, ".") || ext != ".yaml" && ext != ".yml" {
			continue
		}
		if len(seen) == maxFiles {
			return nil, fmt.Errorf("read manifests: more than %d files", maxFiles)
		}
		seen[name] = true
		content, err := recording.ReadWhole(filepath.Join(b.c.Dir, name), manifest.MaxFile)
		if errors.Is(err, os.ErrNotExist) {
			continue // removed meanwhile
		}
		if err != nil {
			b.dirty = true
			docs = append(docs, manifest.Document{File: name, Index: 1, Err: err})
			continue
		}
		docs = append(docs, b.decode(ctx, name, content)...)
	}
	for name := range b.parsed {
		if !seen[name] {
			delete(b.parsed, name)
			b.dirty = true
		}
	}
	return docs, nil
}

// decode decodes a file, unless it is the one it was and was right then.
func (b *Backend) decode(ctx context.Context, name string, content []byte) []manifest.Document {
	sum := sha256.Sum256(content)
	if p, ok := b.parsed[name]; ok && p.sum == sum {
		return p.docs
	}
	delete(b.parsed, name)
	b.dirty = true
	docs := b.decoder.Decode(ctx, name, content, b.state.previous)
	for i := range docs {
		if docs[i].Err != nil {
			return docs
		}
	}
	b.parsed[name] = parsed{sum, docs}
	return docs
}

// read makes a world of documents, and gives its objects their identities.
func (b *Backend) read(docs []manifest.Document, now metav1.Time) *world {
	w := &world{secrets: map[string]*corev1.Secret{}, configMaps: map[string]*corev1.ConfigMap{}}
	w.input.Namespace, w.input.RootNamespace = b.namespace, RootNamespace
	if w.input.Namespace == "" {
		w.input.Namespace = gateOf(docs)
	}
	counts := map[string]int{}
	for i := range docs {
		if d := &docs[i]; d.Name != "" {
			counts[key(d.Kind, d.Namespace, d.Name)]++
		}
	}
	present := map[string]bool{}
	for i := range docs {
		d := docs[i]
		k := key(d.Kind, d.Namespace, d.Name)
		present[k] = true
		switch {
		case d.Ignored:
			w.ignored = append(w.ignored, d.Where()+" has no meaning without a cluster and is ignored")
			continue
		case d.Err == nil && counts[k] > 1:
			d.Err = errors.New("it is there more than once")
		case d.Err == nil:
			d.Err = w.place(&d)
		}
		if d.Err == nil {
			d.Err = b.take(w, &d, now)
		}
		if d.Err == nil {
			w.assess(d.Where(), d.Object)
		}
		if d.Err != nil {
			w.wrong = append(w.wrong, d.Where()+": "+d.Err.Error())
			if d.Kind != "Secret" && d.Kind != "ConfigMap" {
				w.input.Undecodable = append(w.input.Undecodable, policy.Undecodable{Kind: d.Kind, Namespace: d.Namespace, Name: d.Name, Err: d.Err})
			}
		}
	}
	b.state.forget(present)
	return w
}

// gateOf is the gate namespace that a folder speaks of: that of its first Target.
func gateOf(docs []manifest.Document) string {
	for i := range docs {
		if docs[i].Kind == "Target" && docs[i].Namespace != "" {
			return docs[i].Namespace
		}
	}
	return ""
}

// place checks that an object lies in a namespace in which it can have a meaning.
func (w *world) place(d *manifest.Document) error {
	switch d.Kind {
	case "Secret", "ConfigMap":
		return nil // what no Target names has no effect
	case "MaskingRule", "CommandRule", "AccessLock", "AccessPolicy":
		if d.Namespace == RootNamespace {
			return nil
		}
	case "Session", "ApprovalRequest":
		return fmt.Errorf("a %s is made by the proxy and lies in .%ss", d.Kind, strings.ToLower(strings.TrimSuffix(d.Kind, "Request")))
	}
	if d.Namespace != w.input.Namespace {
		return fmt.Errorf("metadata.namespace: %q is not the gate namespace %q of the folder's first Target; one folder is one gate", d.Namespace, w.input.Namespace)
	}
	return nil
}

// take puts an object into the world.
func (b *Backend) take(w *world, d *manifest.Document, now metav1.Time) error {
	o := d.Object.DeepCopyObject().(manifest.Object) //nolint:forcetypeassert // a copy is of the type of its original
	switch o := o.(type) {
	case *corev1.Secret:
		if o.Namespace == w.input.Namespace {
			w.secrets[o.Name] = o
		}
		return nil
	case *corev1.ConfigMap:
		if o.Namespace == w.input.Namespace {
			w.configMaps[o.Name] = o
		}
		return nil
	}
	if err := b.state.identify(d.Kind, o, now); err != nil {
		return err
	}
	if !w.input.Add(o) {
		return fmt.Errorf("kind %s has no meaning in a folder", d.Kind)
	}
	return nil
}

// assess notes a rule that does not compile. The policy shuts what it selects.
func (w *world) assess(where string, o manifest.Object) {
	a := policy.Assessment{OK: true}
	switch o := o.(type) {
	case *v1alpha1.MaskingRule:
		a = policy.AssessMaskingRule(o)
	case *v1alpha1.CommandRule:
		a = policy.AssessCommandRule(o)
	case *v1alpha1.AccessPolicy:
		a = policy.AssessAccessPolicy(o)
	}
	if !a.OK {
		w.wrong = append(w.wrong, where+": "+a.Message)
	}
}
