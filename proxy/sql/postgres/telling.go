package postgres

import (
	"encoding/json"
	"slices"
)

// describeTelling notes what else tells of a masked column: columns generated from it,
// unique indexes over it, constraints and policies that compare it, references to it.
func (k *known) describeTelling(rows [][]*string, byOID map[string]*relation, numbered map[string]map[string]*column) {
	for _, row := range rows {
		v := values(row)
		if v[0] != "generated" {
			continue
		}
		made, from := numbered[v[1]][v[2]], numbered[v[1]][v[3]]
		if made != nil && from != nil && from.mask != 0 && made.mask == 0 {
			made.secret, made.origin = true, from.origin
		}
	}
	for _, row := range rows {
		v := values(row)
		r := byOID[v[1]]
		switch v[0] {
		case "unique":
			r.tellUnique(v[2], v[3])
		case "check":
			r.tellChecked(v[2])
		case "reference":
			if k.masksElsewhere(v[3], v[4]) {
				r.telling[v[2]] = true
			}
		case "referenced":
			r.held = r.held || k.masksElsewhere(v[3], v[4])
			if keys, ok := keysOf(v[2]); ok {
				for _, name := range keys {
					r.keys[name] = true
				}
			}
		}
	}
}

// masksElsewhere reports whether a column is masked, given its name and, as a JSON list,
// its table's schema and name, its OID and the column's number.
func (k *known) masksElsewhere(table, name string) bool {
	var of [4]string
	return json.Unmarshal([]byte(table), &of) != nil || k.masks.Mask(of[0], of[1], name) != 0 || k.follows(of[2], of[3])
}

// tellUnique notes the columns of a unique index, and all masked ones, where that a value
// is there already would tell more of a masked one than the rule admits.
func (r *relation) tellUnique(list, kind string) {
	keys, ok := keysOf(list)
	over := !ok || kind == "expression" || slices.ContainsFunc(keys, func(k string) bool {
		// A conflict says what a comparison would say.
		found := columnsNamed(r.columns, k)
		return r.hides(k) && (kind != "" || len(found) != 1 || !found[0].uses.Equality)
	})
	for _, c := range r.columns {
		if over && (c.mask != 0 || slices.Contains(keys, c.name)) && r.masked() {
			r.telling[c.name] = true
		}
	}
}

// tellChecked notes the columns that a constraint or policy combines with a masked one.
func (r *relation) tellChecked(list string) {
	keys, ok := keysOf(list)
	for _, c := range r.columns {
		others := slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return k == c.name })
		if !ok && r.masked() || len(others) < len(keys) && slices.ContainsFunc(others, r.hides) {
			r.checked[c.name] = true
		}
	}
}

// keysOf reads a list of names of columns.
func keysOf(s string) (keys []string, ok bool) {
	return keys, json.Unmarshal([]byte(s), &keys) == nil
}

// hides reports whether the column of a name is masked, or is not the relation's own: then
// a child has it, and whether that masks it is not known.
func (r *relation) hides(name string) bool {
	found := columnsNamed(r.columns, name)
	return len(found) != 1 || found[0].mask != 0 || found[0].secret
}
