package objects

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
)

// Why a body is not written.
var (
	// ErrMasked says that a body holds a masked value.
	ErrMasked = errors.New("it holds a value that is masked, and would overwrite what it stands for")
	// ErrOperation says that a JSON Patch has an operation that tells of a value or moves it.
	ErrOperation = errors.New("a JSON Patch of what is masked may add, replace and remove; copy and move would show values, and test would tell them")
	// ErrDirective says that a strategic merge patch has a directive that tells of a value.
	ErrDirective = errors.New("a patch of what is masked may not delete from lists by value, which would tell it")
	// ErrForm says that a body is no object.
	ErrForm = errors.New("its body is not read as an object")
)

// Writable reports whether an object, or a patch that is a part of one, may be written: it
// holds no masked value, but in the annotation that holds the object as it was applied, where
// it is of no consequence.
func (p *Plan) Writable(doc any) error {
	o, ok := doc.(map[string]any)
	if !ok {
		return ErrForm
	}
	for name, v := range o {
		if m, ok := v.(map[string]any); ok && name == "metadata" {
			if err := writableMetadata(m); err != nil {
				return err
			}
			continue
		}
		if err := writable(name, v); err != nil {
			return err
		}
	}
	return nil
}

func writableMetadata(m map[string]any) error {
	for name, v := range m {
		if annotations, ok := v.(map[string]any); ok && name == "annotations" {
			for name, v := range annotations {
				if text, ok := v.(string); ok && name == lastApplied && text != Text {
					continue
				}
				if err := writable(name, v); err != nil {
					return err
				}
			}
			continue
		}
		if err := writable(name, v); err != nil {
			return err
		}
	}
	return nil
}

func writable(name string, v any) error {
	if strings.HasPrefix(name, "$deleteFromPrimitiveList") {
		return ErrDirective
	}
	if holdsText(name) {
		return ErrMasked
	}
	switch v := v.(type) {
	case string:
		if holdsText(v) {
			return ErrMasked
		}
	case []byte:
		if holdsText(string(v)) {
			return ErrMasked
		}
	case map[string]any:
		for name, field := range v {
			if err := writable(name, field); err != nil {
				return err
			}
		}
	case []any:
		for _, e := range v {
			if err := writable("", e); err != nil {
				return err
			}
		}
	}
	return nil
}

// holdsText reports whether a text holds the mask, also in base64.
func holdsText(s string) bool {
	if strings.Contains(s, Text) {
		return true
	}
	if len(s) < len(encodedText) {
		return false
	}
	for _, e := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if b, err := e.DecodeString(strings.TrimSpace(s)); err == nil && strings.Contains(string(b), Text) {
			return true
		}
	}
	return false
}

// identity are the fields by whose test a patch says which object it means.
var identity = []string{"/metadata/resourceVersion", "/metadata/uid", "/metadata/generation"}

// Operation is one of a JSON Patch (RFC 6902).
type Operation struct {
	Op, Path string
	Value    any
}

// Patchable reports whether a JSON Patch may be made.
func (p *Plan) Patchable(operations []Operation) error {
	for _, o := range operations {
		switch {
		case o.Op == "test" && slices.Contains(identity, o.Path):
		case o.Op != "add" && o.Op != "replace" && o.Op != "remove":
			return ErrOperation
		}
		if o.Path == "/metadata/annotations/"+strings.ReplaceAll(lastApplied, "/", "~1") {
			if text, ok := o.Value.(string); ok && text != Text {
				continue
			}
		}
		if o.Path == "" {
			// All of the object.
			if err := p.Writable(o.Value); err != nil {
				return err
			}
			continue
		}
		if err := writable(o.Path, o.Value); err != nil {
			return err
		}
	}
	return nil
}
