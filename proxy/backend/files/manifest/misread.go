package manifest

import (
	stdjson "encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	durationType = reflect.TypeFor[metav1.Duration]()
	timeType     = reflect.TypeFor[metav1.Time]()
)

// misread names the first field, by path, that holds a duration or time which cannot be
// read, and says what it needs: the error of decoding does not. It is empty if there is none.
func misread(asJSON []byte, into any) string {
	var v any
	if stdjson.Unmarshal(asJSON, &v) != nil {
		return ""
	}
	return misreadIn(v, reflect.TypeOf(into), "")
}

func misreadIn(v any, t reflect.Type, path string) string {
	if v == nil {
		return ""
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t {
	case durationType:
		if s, ok := v.(string); !ok || unreadable(time.ParseDuration(s)) {
			return path + " needs a duration such as 90m, 1h30m or 720h; hours are the largest unit"
		}
		return ""
	case timeType:
		if s, ok := v.(string); !ok || unreadable(time.Parse(time.RFC3339, s)) {
			return path + " needs a time such as 2026-12-31T18:00:00Z"
		}
		return ""
	}
	switch v := v.(type) {
	case map[string]any:
		return misreadObject(v, t, path)
	case []any:
		for i := range v {
			if t.Kind() != reflect.Slice {
				break
			}
			if s := misreadIn(v[i], t.Elem(), fmt.Sprintf("%s[%d]", path, i)); s != "" {
				return s
			}
		}
	}
	return ""
}

// misreadObject looks into the fields of a struct, in their order.
func misreadObject(v map[string]any, t reflect.Type, path string) string {
	if t.Kind() != reflect.Struct {
		return ""
	}
	for f := range fields(t) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" && slices.Contains(strings.Split(options, ","), "inline") {
			if s := misreadIn(v, f.Type, path); s != "" {
				return s
			}
			continue
		}
		if s := misreadIn(v[name], f.Type, strings.TrimPrefix(path+"."+name, ".")); s != "" {
			return s
		}
	}
	return ""
}

func fields(t reflect.Type) func(func(reflect.StructField) bool) {
	return func(yield func(reflect.StructField) bool) {
		for i := range t.NumField() {
			if f := t.Field(i); f.IsExported() && !yield(f) {
				return
			}
		}
	}
}

func unreadable[T any](_ T, err error) bool { return err != nil }
