package objects

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
)

var errTrailing = errors.New("there is more after the document")

// Decode reads one document.
func Decode(b []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return v, nil
}

// Answer masks what the API server sends to one request: one document, or those of a watch.
type Answer struct {
	plan *Plan
	// writes says that the request could write: what an error says may then be of the object
	// that would have come of it.
	writes bool
	// user is whom the API server knows; it may tell the client what it may not do.
	user string
	// shown are the columns of a table whose cells are; a watch names them once.
	shown []bool
}

// NewAnswer returns what masks the answer to one request of a user.
func (p *Plan) NewAnswer(user string, writes bool) *Answer {
	return &Answer{plan: p, writes: writes, user: user}
}

// Mask masks a document: an object, a list, a table, or a Status.
func (a *Answer) Mask(o map[string]any) {
	switch {
	case IsStatus(o):
		a.status(o)
		return
	case IsTable(o):
		a.columns(o)
		if rows, ok := o["rows"].([]any); ok {
			for i := range rows {
				rows[i] = a.Element("rows", rows[i], true)
			}
		} else {
			delete(o, "rows")
		}
		return
	}
	if items, ok := o["items"].([]any); ok {
		for i := range items {
			items[i] = a.Element("items", items[i], false)
		}
	}
	a.plan.Object(o)
}

// Head masks what stands around a list's items, or a table's rows, and may be asked in the
// midst of a document, with what was read of it.
func (a *Answer) Head(o map[string]any) {
	if IsTable(o) {
		a.columns(o)
		return
	}
	a.plan.Object(o)
}

// Element masks one of a list's items or of a table's rows.
func (a *Answer) Element(field string, e any, table bool) any {
	o, ok := e.(map[string]any)
	if !ok {
		return nil
	}
	if table {
		return a.row(o)
	}
	a.plan.Object(o)
	// What it is an element of may be no list, and have a field of that name.
	here, ends := step(a.plan.start(), field)
	return a.plan.value(o, here, ends, false)
}

// IsTable reports whether a document is a table as the API server prints it.
func IsTable(o map[string]any) bool {
	return o["kind"] == "Table" && (o["apiVersion"] == "meta.k8s.io/v1" || o["apiVersion"] == "meta.k8s.io/v1beta1")
}

// IsStatus reports whether a document is the API server's Status.
func IsStatus(o map[string]any) bool { return o["kind"] == "Status" && o["apiVersion"] == "v1" }

// plain are the columns that show metadata alone.
var plain = []string{"Name", "Namespace", "Age", "Created At"}

// columns notes which cells may be shown.
func (a *Answer) columns(o map[string]any) {
	definitions, ok := o["columnDefinitions"].([]any)
	if !ok || len(definitions) == 0 {
		return
	}
	a.shown = make([]bool, len(definitions))
	for i, d := range definitions {
		definition, _ := d.(map[string]any)
		name, _ := definition["name"].(string)
		a.shown[i] = !a.plan.printed || slices.Contains(plain, name)
	}
}

func (a *Answer) row(row map[string]any) any {
	cells, ok := row["cells"].([]any)
	if !ok {
		return nil
	}
	for i, c := range cells {
		if (i >= len(a.shown) || !a.shown[i]) && c != nil {
			cells[i] = Text
		}
	}
	out := map[string]any{"cells": cells}
	if conditions, ok := row["conditions"]; ok {
		out["conditions"] = conditions
	}
	if o, ok := row["object"].(map[string]any); ok {
		a.plan.Object(o)
		out["object"] = o
	}
	return out
}
