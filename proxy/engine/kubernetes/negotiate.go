package kubernetes

import (
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
)

// form is what a client takes for an answer that is masked. The API server is asked for JSON,
// which the gate masks and, where need be, writes anew in the client's form.
type form struct {
	media string // one of media
	as    []string
}

// media are the forms in which the gate writes masked objects.
var media = []string{runtime.ContentTypeJSON, runtime.ContentTypeYAML, runtime.ContentTypeProtobuf, runtime.ContentTypeCBOR}

// shapes are what an object may be shown as, of group meta.k8s.io.
var shapes = []string{"Table", "PartialObjectMetadata", "PartialObjectMetadataList"}

// clause is one of an Accept header.
type clause struct {
	media, as string
	quality   float64
}

// formFor reads what a client accepts. It reports false where that is nothing that the gate can
// mask.
func formFor(in http.Header, watch bool) (form, bool) {
	clauses := clausesOf(strings.Join(in.Values("Accept"), ","))
	if watch {
		clauses = slices.DeleteFunc(clauses, func(c clause) bool { return c.media == runtime.ContentTypeYAML })
	}
	if len(clauses) == 0 {
		return form{}, false
	}
	f := form{media: clauses[0].media}
	binary := func(m string) bool { return m == runtime.ContentTypeProtobuf || m == runtime.ContentTypeCBOR }
	// Whoever takes a binary form and JSON too gets JSON, which costs no conversion.
	if binary(f.media) && slices.ContainsFunc(clauses, func(c clause) bool { return c.media == runtime.ContentTypeJSON && c.as == clauses[0].as }) {
		f.media = runtime.ContentTypeJSON
	}
	for _, c := range clauses {
		if c.media == f.media && !slices.Contains(f.as, c.as) {
			f.as = append(f.as, c.as)
		}
	}
	return f, true
}

// clausesOf returns the clauses that the gate understands, the preferred first.
func clausesOf(accept string) []clause {
	if strings.TrimSpace(accept) == "" {
		accept = "*/*"
	}
	var clauses []clause
	for _, part := range strings.Split(accept, ",") {
		name, parameters, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		if name == "*/*" || name == "application/*" {
			name = runtime.ContentTypeJSON
		}
		c := clause{media: strings.TrimSuffix(name, "-seq"), quality: 1}
		if slices.Contains(media, c.media) && c.read(parameters) {
			clauses = append(clauses, c)
		}
	}
	slices.SortStableFunc(clauses, func(a, b clause) int {
		switch {
		case a.quality > b.quality:
			return -1
		case a.quality < b.quality:
			return 1
		}
		return 0
	})
	return clauses
}

// read takes the parameters of a clause, and reports whether it understands them all.
func (c *clause) read(parameters map[string]string) bool {
	for name, v := range parameters {
		switch name {
		case "q":
			q, err := strconv.ParseFloat(v, 64)
			if err != nil || !(q > 0) || q > 1 {
				return false
			}
			c.quality = q
		case "as":
			c.as = v
		case "g", "v", "stream", "charset", "pretty":
		default:
			return false
		}
	}
	if c.as == "" {
		return parameters["g"] == "" && parameters["v"] == ""
	}
	return slices.Contains(shapes, c.as) && parameters["g"] == "meta.k8s.io" && parameters["v"] == "v1"
}

// accept is what the API server is asked for.
func (f form) accept() string {
	var clauses []string
	for _, as := range f.as {
		c := runtime.ContentTypeJSON
		if as != "" {
			c += ";as=" + as + ";g=meta.k8s.io;v=v1"
		}
		clauses = append(clauses, c)
	}
	return strings.Join(clauses, ",")
}

// contentType is that of the answer.
func (f form) contentType(watch bool) string {
	switch {
	case !watch || f.media == runtime.ContentTypeJSON:
		return f.media
	case f.media == runtime.ContentTypeCBOR:
		return runtime.ContentTypeCBORSequence
	}
	return f.media + ";stream=watch"
}
